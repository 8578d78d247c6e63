//! Start tags, whatever the parser lets through: some of what a tag refuses rxml refuses before it.

use rxml::NcName;

use super::*;
use crate::xml::tag::Tag;

/// What a tag says to these attributes: prefix, local name, value.
fn verdict(attributes: &[(&str, &str, &str)]) -> Result<(), XmlError> {
    let name = |text: &str| NcName::try_from(text).expect("a name");
    let mut tag = Tag::new((None, name("a")));
    attributes.iter().try_for_each(|(prefix, local, value)| {
        let prefix = (!prefix.is_empty()).then(|| name(prefix));
        tag.add((prefix, name(local)), (*value).to_owned())
    })
}

#[test]
//= RFC6120-11.3-4 test
fn a_tag_judges_its_declarations_by_itself() {
    type Declarations<'a> = &'a [(&'a str, &'a str, &'a str)];
    let cases: [(Declarations<'_>, Result<(), XmlError>); 13] = [
        (&[("", "xmlns", "")], Ok(())),
        (&[("", "xmlns", "urn:a"), ("xmlns", "p", "urn:a"), ("xmlns", "q", "urn:a")], Ok(())),
        (&[("xmlns", "xml", ns::XML)], Ok(())),
        (&[("xmlns", "p", "")], Err(XmlError::EmptyNamespace)),
        (&[("xmlns", "xmlns", "urn:a")], Err(XmlError::ReservedNamespace)),
        (&[("xmlns", "xml", "urn:a")], Err(XmlError::ReservedNamespace)),
        (&[("xmlns", "p", ns::XML)], Err(XmlError::ReservedNamespace)),
        (&[("", "xmlns", ns::XML)], Err(XmlError::ReservedNamespace)),
        (&[("xmlns", "p", ns::XMLNS)], Err(XmlError::ReservedNamespace)),
        (&[("", "xmlns", ns::XMLNS)], Err(XmlError::ReservedNamespace)),
        (&[("", "xmlns", "urn:a"), ("", "xmlns", "urn:a")], Err(XmlError::DuplicateAttribute)),
        (&[("xmlns", "p", "urn:a"), ("xmlns", "p", "urn:b")], Err(XmlError::DuplicateAttribute)),
        (&[("", "xmlns", ""), ("", "xmlns", "urn:a")], Err(XmlError::DuplicateAttribute)),
    ];
    for (attributes, expected) in cases {
        assert_eq!(verdict(attributes), expected, "{attributes:?}");
    }
}
