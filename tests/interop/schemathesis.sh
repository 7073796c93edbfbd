#!/usr/bin/env bash
# schemathesis (Python, from PyPI) against our own description of the facade: ten minutes, or as many seconds as the first
# argument says. CHARGEMESH_BIN names the program; SCHEMATHESIS a schemathesis that is installed already.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-600}
hooks=$PWD/tests/interop/schemathesis_hooks.py
binary=${CHARGEMESH_BIN:-$PWD/target/release/chargemesh}
[ -x "$binary" ] || { echo "no program at $binary: cargo build --release, or set CHARGEMESH_BIN" >&2; exit 2; }

place=$(mktemp -d)
nodes=()
trap 'kill "${nodes[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$place"' EXIT

if [ -z "${SCHEMATHESIS:-}" ]; then
    python3 -m venv "$place/python"
    "$place/python/bin/pip" install --quiet --disable-pip-version-check "schemathesis==4.32.5"
    SCHEMATHESIS=$place/python/bin/schemathesis
fi

# One node that speaks for an operator, one for a provider; each allows the other everything. Nothing listens where their
# backends would be: what reaches them is refused as 310.
cd "$place"
"$binary" init boot --bootstrap-node > /dev/null
"$binary" init cpo --party 'CPO:CH*ABC' --name ABC --join boot --facade 127.0.0.1:0 > /dev/null
"$binary" init emp --party EMP:DE-EMP --name EMP --join boot --facade 127.0.0.1:0 > /dev/null
for name in cpo emp; do
    printf '\n[[policy.rule]]\nparty = "*"\nallow = true\n' >> $name/node.toml
done
printf '\n[[outbound.backend]]\nparty = "CPO:CH*ABC"\nurl = "http://127.0.0.1:9"\n' >> cpo/node.toml
printf '\n[[outbound.backend]]\nparty = "EMP:DE-EMP"\nurl = "http://127.0.0.1:9"\nnotifications = true\n' >> emp/node.toml
for name in boot cpo emp; do
    "$binary" run --config $name/node.toml > $name.out 2> $name.log &
    nodes+=($!)
done
url() {
    local line
    for _ in $(seq 300); do
        line=$(grep -o 'facade   http://[^ ]*' "$1.out" || true)
        [ -n "$line" ] && { echo "${line##* }"; return; }
        sleep 0.1
    done
    cat "$1.log" >&2
    return 1
}

# Reading is meant to be wider than the published schema where the specification contradicts itself (GAPS), and every other
# method is 405 for all paths alike: the tests of `tests/it` say what is refused.
excluded=negative_data_rejection,unsupported_method,missing_required_header

# What each side may call; the ids of paths are the caller's own, those in bodies are generated.
attack() {
    local side=$1 id=$2 include=$3 base
    base=$(url "$side")
    cat > "$side.toml" <<END
[parameters]
"path.id" = "$id"
END
    "$SCHEMATHESIS" --config-file "$side.toml" run "$base/openapi.json" --url "$base" --workers 1 \
        --include-path-regex "$include" --max-time $((seconds / 2)) --continue-on-failure \
        --phases examples,coverage,fuzzing --request-timeout 30 --suppress-health-check all --no-color \
        --exclude-checks "$excluded"
}
failed=0
export SCHEMATHESIS_HOOKS=$hooks
attack cpo 'CH*ABC' 'operators|notification' || failed=1
attack emp 'DE-EMP' 'providers' || failed=1
for name in cpo emp; do
    curl -sf "$(url $name)/healthz" > /dev/null || { echo "$name does not answer any more" >&2; failed=1; }
    if grep -iE 'panick|ERROR' $name.log; then
        failed=1
    fi
done
exit $failed
