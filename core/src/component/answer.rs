//! What a host without a component answers, [RFC 6120 section 10.5](https://www.rfc-editor.org/rfc/rfc6120#section-10.5).

use crate::component::Host;
use crate::ns;
use crate::reason::Reason;
use crate::stanza::{NoPayload, Stanza, StanzaCondition};
use crate::xml::{Element, StanzaKind, escape_attribute, escape_text};

/// The answer of `host` to `stanza`, or `None` where there is none to give.
///
/// There are no users and no resources, so that all their addresses are answered alike and nothing can be probed.
//= RFC6120-10.5.1-1
//= RFC6120-10.5.2-1
//= RFC6120-10.5.3.1-1
//= RFC6120-10.4.3-4
//= RFC6120-8.3.1-1
//= RFC6120-8.3.3.7-1
//= RFC6120-8.3.3.13-1
//= RFC6120-8.3.3.19-1
//= XEP0199-7-1
//= RFC6120-8.4-5
//= RFC6120-10.2-1
//= RFC6120-13.10.2-1
//= RFC6120-13.11-1
pub(super) fn answer(host: &Host, stanza: &Stanza) -> Option<Stanza> {
    if stanza.head().kind == StanzaKind::Presence || !stanza.may_bounce() {
        return None;
    }
    let unavailable = || stanza.bounce(Reason::ComponentAbsent);
    if stanza.head().kind == StanzaKind::Message {
        return unavailable();
    }
    let stanza_type = stanza.head().stanza_type.as_deref();
    //= RFC6120-8.2.3-1
    if !matches!(stanza_type, Some("get" | "set")) {
        return refuse(stanza, StanzaCondition::BadRequest);
    }
    let request = match stanza.payload() {
        Ok(request) => request,
        //= RFC6120-8.2.3-4
        //= RFC6120-8.3.3.1-1
        Err(NoPayload::NotOne) => return refuse(stanza, StanzaCondition::BadRequest),
        Err(NoPayload::TooBig) => return unavailable(),
    };
    if stanza.head().to.is_domain() && stanza_type == Some("get") {
        //= RFC6120-8.2.3-2
        //= XEP0199-4.3-1
        if request.is(ns::PING, "ping") {
            return Some(stanza.result(""));
        }
        if request.is(ns::DISCO_INFO, "query") {
            return disco_info(host, stanza, &request);
        }
    }
    //= RFC6120-8.4-4
    unavailable()
}

fn refuse(stanza: &Stanza, condition: StanzaCondition) -> Option<Stanza> {
    stanza.error(condition, condition.error_type(), None)
}

/// [XEP-0030 section 3](https://xmpp.org/extensions/xep-0030.html#info): what we are, and what we can do.
//= XEP0199-5-1
fn disco_info(host: &Host, stanza: &Stanza, request: &Element) -> Option<Stanza> {
    if request.attribute("node").is_some_and(|node| !node.is_empty()) {
        return refuse(stanza, StanzaCondition::ItemNotFound); // a node, not an address: reveals nobody
    }
    let query = format!(
        "<query xmlns='{info}'><identity category='server' type='im' name='s2s'/>\
         <feature var='{info}'/><feature var='{ping}'/>{contacts}</query>",
        info = ns::DISCO_INFO,
        ping = ns::PING,
        contacts = contact_form(host),
    );
    Some(stanza.result(&query))
}

/// The contact addresses as a data form, [XEP-0157 section 3](https://xmpp.org/extensions/xep-0157.html); empty if there are none.
//= XEP0157-3-1
fn contact_form(host: &Host) -> String {
    let mut fields: Vec<(&str, String)> = Vec::new();
    for (name, uri) in &host.contacts {
        let value = format!("<value>{}</value>", escape_text(uri));
        match fields.iter_mut().find(|(field, _)| field == name) {
            Some((_, values)) => values.push_str(&value),
            None => fields.push((name, value)),
        }
    }
    if fields.is_empty() {
        return String::new();
    }
    let mut form = format!(
        "<x xmlns='{}' type='result'><field var='FORM_TYPE' type='hidden'><value>{}</value></field>",
        ns::DATA_FORMS,
        ns::SERVER_INFO
    );
    for (name, values) in fields {
        form.push_str(&format!("<field var='{}' type='list-multi'>{values}</field>", escape_attribute(name)));
    }
    form.push_str("</x>");
    form
}
