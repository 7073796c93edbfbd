-- Lists of one partner's records, in the order of their arrival.
CREATE INDEX cdrs_by_partner ON cdrs(partner);
