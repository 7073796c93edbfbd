//! The answers to pulls: the page envelope of EVSE data and CDRs (TYPES section 9), and the status answers.

use super::evse_status::EvseStatus;
use super::json::Node;
use super::json_write::Writer;
use super::status_code::{Code, StatusCode};

/// Page size if none is asked for.
pub const PAGE_SIZE_DEFAULT: u64 = 20;
/// Largest page; larger wishes are clamped (GAPS C31).
pub const PAGE_SIZE_MAX: u64 = 2000;

/// Which page of how many records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    number: u64,
    size: u64,
}

impl PageRequest {
    /// The page asked for by the query parameters; size 0 becomes 1, sizes over [`PAGE_SIZE_MAX`] are clamped.
    #[must_use]
    pub fn new(number: Option<u64>, size: Option<u64>) -> PageRequest {
        PageRequest {
            number: number.unwrap_or(0),
            size: size.unwrap_or(PAGE_SIZE_DEFAULT).clamp(1, PAGE_SIZE_MAX),
        }
    }

    /// Zero-based page index.
    #[must_use]
    pub fn number(self) -> u64 {
        self.number
    }

    /// Records per page.
    #[must_use]
    pub fn size(self) -> u64 {
        self.size
    }

    /// Records before this page.
    #[must_use]
    pub fn offset(self) -> u64 {
        self.number.saturating_mul(self.size)
    }
}

/// Writes a page: `content` are finished JSON records, `total_elements` counts all pages.
#[must_use]
pub fn write<S: AsRef<str>>(
    request: PageRequest,
    total_elements: u64,
    content: &[S],
    status: &StatusCode,
) -> String {
    let bytes: usize = content.iter().map(|record| record.as_ref().len() + 1).sum();
    let total_pages = total_elements.div_ceil(request.size);
    let mut writer = Writer::with_capacity(bytes + 512);
    writer.begin_object().key("content").begin_array();
    for record in content {
        writer.raw(record.as_ref());
    }
    writer.end_array().key("number").integer(request.number).key("size").integer(request.size);
    writer.key("totalElements").integer(total_elements);
    writer.key("last").bool(request.number.saturating_add(1) >= total_pages);
    writer.key("totalPages").integer(total_pages).key("first").bool(request.number == 0);
    writer.key("numberOfElements").integer(content.len() as u64);
    writer.key("empty").bool(content.is_empty());
    writer.key("pageable").begin_object();
    sort(&mut writer);
    writer.key("pageNumber").integer(request.number).key("pageSize").integer(request.size);
    writer.key("offset").integer(request.offset()).key("paged").bool(true).key("unpaged").bool(false);
    writer.end_object().key("StatusCode");
    status.write(&mut writer);
    writer.end_object();
    writer.finish()
}

fn sort(writer: &mut Writer) {
    writer.key("sort").begin_object().key("sorted").bool(false).key("unsorted").bool(true);
    writer.key("empty").bool(true).end_object();
}

/// A page as a client reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<'n, 'a> {
    /// The records; their received text is [`Node::raw`].
    pub content: &'n [Node<'a>],
    /// Zero-based index.
    pub number: u64,
    /// Pages overall.
    pub total_pages: u64,
    /// Records overall.
    pub total_elements: u64,
    /// No page follows.
    pub last: bool,
    /// The outcome, if sent (GAPS A8).
    pub status: Option<StatusCode>,
}

impl<'n, 'a> Page<'n, 'a> {
    /// Reads a page tolerantly; `None` if there is no `content` list. Missing counts are derived.
    #[must_use]
    pub fn read(node: &'n Node<'a>) -> Option<Page<'n, 'a>> {
        let list = node.field_any_case(&["content"]).filter(|list| list.is_array())?;
        let count =
            |name: &str| node.field_any_case(&[name]).and_then(Node::number_text)?.parse::<u64>().ok();
        let number = count("number").unwrap_or(0);
        let total_pages = count("totalPages").unwrap_or(1);
        let last = node.field_any_case(&["last"]).and_then(Node::as_bool);
        Some(Page {
            content: list.items(),
            number,
            total_pages,
            total_elements: count("totalElements").unwrap_or(list.items().len() as u64),
            last: last.unwrap_or(number.saturating_add(1) >= total_pages),
            status: node.field_any_case(&["StatusCode"]).and_then(StatusCode::read),
        })
    }
}

/// One operator's block of a status answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorStatuses {
    /// OperatorID as the operator writes it.
    pub operator_id: String,
    /// Its display name.
    pub operator_name: Option<String>,
    /// EvseID text and status.
    pub records: Vec<(Box<str>, EvseStatus)>,
}

/// Writes eRoamingEVSEStatus: `EvseStatuses.OperatorEvseStatus[]` (GAPS A5).
#[must_use]
pub fn write_statuses(blocks: &[OperatorStatuses]) -> String {
    let mut writer = Writer::new();
    writer.begin_object().key("EvseStatuses").begin_object().key("OperatorEvseStatus").begin_array();
    for block in blocks {
        writer.begin_object().key("OperatorID").string(&block.operator_id);
        writer.key("OperatorName").string_or_null(block.operator_name.as_deref());
        writer.key("EvseStatusRecord");
        status_records(&mut writer, &block.records);
        writer.end_object();
    }
    writer.end_array().end_object().key("StatusCode");
    StatusCode::from(Code::Success).write(&mut writer);
    writer.end_object();
    writer.finish()
}

/// Writes eRoamingEVSEStatusByID: `EVSEStatusRecords.EvseStatusRecord[]`, flat (GAPS A6).
#[must_use]
pub fn write_statuses_by_id(records: &[(Box<str>, EvseStatus)]) -> String {
    let mut writer = Writer::new();
    writer.begin_object().key("EVSEStatusRecords").begin_object().key("EvseStatusRecord");
    status_records(&mut writer, records);
    writer.end_object().key("StatusCode");
    StatusCode::from(Code::Success).write(&mut writer);
    writer.end_object();
    writer.finish()
}

fn status_records(writer: &mut Writer, records: &[(Box<str>, EvseStatus)]) {
    writer.begin_array();
    for (evse_id, status) in records {
        writer.begin_object().key("EvseID").string(evse_id);
        writer.key("EvseStatus").string(status.as_str()).end_object();
    }
    writer.end_array();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oicp::json::parse_text;

    #[test]
    fn pages_are_written_and_read() {
        let request = PageRequest::new(Some(1), Some(2));
        let json = write(request, 5, &["{\"a\":1.0}", "{}"], &StatusCode::from(Code::Success));
        let node = parse_text(&json).unwrap();
        let page = Page::read(&node).unwrap();
        assert_eq!((page.number, page.total_pages, page.total_elements, page.last), (1, 3, 5, false));
        assert_eq!(page.content[0].raw(), "{\"a\":1.0}");
        assert_eq!(node.field("pageable").unwrap().field("offset").unwrap().number_text(), Some("2"));
        let none: [&str; 0] = [];
        let empty = write(PageRequest::new(None, Some(9999)), 0, &none, &StatusCode::from(Code::Success));
        let node = parse_text(&empty).unwrap();
        assert!(Page::read(&node).unwrap().last);
        assert_eq!(node.field("size").unwrap().number_text(), Some("2000"));
        assert_eq!(node.field("empty").unwrap().as_bool(), Some(true));
    }

    #[test]
    fn status_answers_have_the_shapes_of_the_examples() {
        let records = vec![("DE*A*E1".into(), EvseStatus::Available)];
        let by_id = write_statuses_by_id(&records);
        assert!(by_id.starts_with(
            r#"{"EVSEStatusRecords":{"EvseStatusRecord":[{"EvseID":"DE*A*E1","EvseStatus":"Available"}]},"StatusCode":"#
        ));
        let block = OperatorStatuses { operator_id: "DE*ABC".into(), operator_name: None, records };
        let all = write_statuses(&[block]);
        assert!(all.starts_with(
            r#"{"EvseStatuses":{"OperatorEvseStatus":[{"OperatorID":"DE*ABC","OperatorName":null,"#
        ));
        assert!(parse_text(&all).is_ok());
    }
}
