use super::*;
use crate::config;

fn write(directory: &Path, certificate: &str, key: &str, names: &[&str]) {
    write_valid(directory, certificate, key, names, (1975, 4096));
}

/// Valid from the beginning of one year to that of another.
fn write_valid(directory: &Path, certificate: &str, key: &str, names: &[&str], (from, until): (i32, i32)) {
    let params = rcgen::CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>());
    let mut params = params.expect("names");
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let pair = rcgen::KeyPair::generate().expect("a key");
    let signed = params.self_signed(&pair).expect("a certificate");
    let path = directory.join(certificate);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs::write(path, signed.pem()).expect("writable");
    fs::write(directory.join(key), pair.serialize_pem()).expect("writable");
}

fn settings(directory: &Path, text: &str) -> Settings {
    config::parse(text, &directory.join("s2sd.toml")).expect(text)
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).expect(text)
}

#[test]
fn a_certificate_is_chosen_by_the_names_in_it_and_exact_ones_come_first() {
    let home = tempfile::tempdir().expect("a directory");
    let certs = home.path().join("certs");
    write(&certs, "a-wildcard.crt", "a-wildcard.key", &["*.m.example"]);
    write(&certs, "misnamed.crt", "misnamed.key", &["chat.m.example", "m.example"]);
    write(&certs, "nested/fullchain.pem", "nested/privkey.pem", &["o.example"]);
    fs::write(certs.join("broken.crt"), "not a certificate").expect("writable");
    fs::write(certs.join("README"), "no certificate either").expect("writable");

    let settings = settings(home.path(), "[host.\"m.example\"]");
    let mut broken = Vec::new();
    let candidates = directory(&settings, &mut broken).expect("readable");
    assert_eq!(candidates.len(), 3);
    assert!(broken.len() == 1 && broken[0].path == certs.join("broken.crt"), "{broken:?}");
    let names = |host: &str| {
        let candidate = choose(&domain(host), &candidates, unix_now())?;
        Some(candidate.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(names("chat.m.example").as_deref(), Some("chat.m.example m.example"));
    assert_eq!(names("other.m.example").as_deref(), Some("*.m.example"));
    assert_eq!(names("o.example").as_deref(), Some("o.example"));
    assert_eq!(names("deep.other.m.example"), None);
}

#[test]
fn a_host_that_demands_encryption_needs_a_certificate() {
    let home = tempfile::tempdir().expect("a directory");
    for demand in ["s2s_secure_auth = true", "s2s_require_encryption = true"] {
        let demanding = settings(home.path(), &format!("[host.\"m.example\"]\n{demand}"));
        let errors = load(&demanding).expect_err(demand);
        assert!(errors.len() == 1, "{errors:?}");
        let text = errors[0].to_string();
        assert!(text.contains("s2sd.toml:1: host 'm.example' demands encryption and has no certificate"), "{text}");
    }
    // One that is there and cannot be used is told first, and what to do behind it.
    let certs = home.path().join("certs");
    write(&certs, "m.crt", "m.key", &["m.example"]);
    fs::write(certs.join("m.key"), "").expect("writable");
    let errors = load(&settings(home.path(), "[host.\"m.example\"]\ns2s_secure_auth = true")).expect_err("no key");
    let text = errors[0].to_string();
    let expected = format!("has no certificate that can be used ({}: ", certs.join("m.key").display());
    assert!(text.contains(&expected) && text.contains("): mend that, or give 'certificate' and 'key'"), "{text}");
    fs::remove_dir_all(certs).expect("there");

    let lax = load(&settings(home.path(), "[host.\"m.example\"]")).expect("no demand");
    assert!(lax.identities.is_empty());
    assert_eq!(lax.warnings, ["no certificate for m.example: it cannot offer encryption"]);
}

#[test]
fn a_host_without_certificate_and_dialback_has_no_way_to_authenticate_anybody() {
    let home = tempfile::tempdir().expect("a directory");
    let text = "[host.\"m.example\"]\nmodules_disabled = [\"dialback\"]";
    let errors = load(&settings(home.path(), text)).expect_err("nobody can be authenticated");
    assert!(errors.len() == 1, "{errors:?}");
    let told = errors[0].to_string();
    let expected = "s2sd.toml:1: host 'm.example' has no certificate, and dialback is disabled, so that nobody can \
                    be authenticated: take \"dialback\" out of 'modules_disabled', or give 'certificate' and 'key'";
    assert!(told.contains(expected), "{told}");
    let closed = text.replace("[\"dialback\"]", "[\"dialback\", \"s2s\"]");
    load(&settings(home.path(), &closed)).expect("it talks to nobody anyway");
    write(&home.path().join("certs"), "m.crt", "m.key", &["m.example"]);
    load(&settings(home.path(), text)).expect("a certificate is enough");
}

#[test]
fn a_key_that_does_not_fit_is_an_error_of_its_host_and_in_the_directory_spoils_nothing_but_its_pair() {
    let home = tempfile::tempdir().expect("a directory");
    let certs = home.path().join("certs");
    write(&certs, "a.crt", "a.key", &["m.example"]);
    write(&certs, "b.crt", "b.key", &["m.example"]);
    fs::copy(certs.join("b.key"), certs.join("a.key")).expect("writable");
    let loaded = load(&settings(home.path(), "[host.\"m.example\"]\ns2s_secure_auth = true")).expect("b is good");
    assert_eq!((loaded.identities.len(), loaded.warnings.len()), (1, 1), "{loaded:?}");
    let expected = format!(
        "{}: this is not the key of the certificate in {}",
        certs.join("a.key").display(),
        certs.join("a.crt").display()
    );
    assert!(loaded.broken[0].starts_with(&expected), "{loaded:?}");

    let text = "\n[host.\"m.example\"]\ncertificate = \"certs/a.crt\"\nkey = \"certs/a.key\"";
    let errors = load(&settings(home.path(), text)).expect_err("that is the key of b");
    let told = errors[0].to_string();
    assert!(errors.len() == 1 && told.contains(&format!("s2sd.toml:4: 'key': {expected}")), "{told}");
}

#[test]
fn of_certificates_that_name_a_host_alike_the_one_that_is_valid_now_and_longest_is_chosen() {
    let home = tempfile::tempdir().expect("a directory");
    let certs = home.path().join("certs");
    for (name, years) in [("a", (2020, 2021)), ("b", (2019, 2030)), ("c", (2019, 2040)), ("d", (2050, 2060))] {
        write_valid(&certs, &format!("{name}.crt"), &format!("{name}.key"), &["m.example"], years);
    }
    let candidates = directory(&settings(home.path(), "[host.\"m.example\"]"), &mut Vec::new()).expect("readable");
    for (year, expected) in [(2020, "c"), (2035, "c"), (2045, "d"), (2055, "d"), (2070, "d")] {
        // A day after its beginning, or before.
        let now = Duration::from_secs((year - 1970) * 31_556_952 + 86_400);
        let chosen = choose(&domain("m.example"), &candidates, now).expect("all of them name it");
        assert_eq!(chosen.path, certs.join(format!("{expected}.crt")), "{year}");
    }
}

#[test]
fn a_certificate_that_is_valid_now_comes_before_an_exact_name_and_that_before_a_later_end() {
    let home = tempfile::tempdir().expect("a directory");
    let certs = home.path().join("certs");
    write_valid(&certs, "exact.crt", "exact.key", &["chat.m.example"], (2019, 2030));
    write_valid(&certs, "wildcard.crt", "wildcard.key", &["*.m.example"], (2019, 2040));
    let settings = settings(home.path(), "[host.\"chat.m.example\"]");
    let candidates = directory(&settings, &mut Vec::new()).expect("readable");
    for (year, expected) in [(2018, "exact"), (2020, "exact"), (2035, "wildcard"), (2045, "exact")] {
        let now = Duration::from_secs((year - 1970) * 31_556_952 + 86_400);
        let chosen = choose(&domain("chat.m.example"), &candidates, now).expect("both name it");
        assert_eq!(chosen.path, certs.join(format!("{expected}.crt")), "{year}");
    }
    // What is shown is good, so that there is nothing to warn of.
    write_valid(&certs, "exact.crt", "exact.key", &["chat.m.example"], (2019, 2020));
    write(&certs, "wildcard.crt", "wildcard.key", &["*.m.example"]);
    let loaded = load(&settings).expect("it loads");
    assert_eq!((loaded.identities.len(), loaded.warnings), (1, Vec::new()));
}

#[test]
fn a_certificate_that_is_not_valid_now_is_shown_and_told() {
    for (years, expected) in [
        ((2020, 2021), "has expired on 2021-01-01: peers will refuse it"),
        ((4000, 4096), "is not valid before 4000-01-01: peers will refuse it"),
    ] {
        let home = tempfile::tempdir().expect("a directory");
        write_valid(&home.path().join("certs"), "m.crt", "m.key", &["m.example"], years);
        for own in ["", "certificate = \"certs/m.crt\"\nkey = \"certs/m.key\""] {
            let loaded = load(&settings(home.path(), &format!("[host.\"m.example\"]\n{own}"))).expect("it loads");
            assert_eq!((loaded.identities.len(), loaded.warnings.len()), (1, 1), "{loaded:?}");
            let path = home.path().join("certs/m.crt");
            let expected = format!("the certificate of m.example in {} {expected}", path.display());
            assert!(loaded.warnings[0].starts_with(&expected), "{loaded:?}");
        }
    }
}

#[test]
fn days_are_those_of_the_calendar() {
    for (seconds, day) in [
        (0, "1970-01-01"),
        (951_782_400, "2000-02-29"),
        (1_703_980_800, "2023-12-31"),
        (1_709_251_199, "2024-02-29"),
        (4_107_542_399, "2100-02-28"),
        (4_107_542_400, "2100-03-01"),
    ] {
        assert_eq!(date(Duration::from_secs(seconds)), day);
    }
}

#[test]
fn a_host_with_tls_disabled_shows_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    write(&home.path().join("certs"), "m.crt", "m.key", &["m.example"]);
    let text = "modules_disabled = [\"tls\"]\n[host.\"m.example\"]";
    let loaded = load(&settings(home.path(), text)).expect("loads");
    assert!(loaded.identities.is_empty() && loaded.hosts.is_empty() && loaded.warnings.is_empty(), "{loaded:?}");
}

#[test]
fn a_reload_takes_no_certificate_away_because_its_file_is_broken() {
    let home = tempfile::tempdir().expect("a directory");
    let certs = home.path().join("certs");
    write(&certs, "m.crt", "m.key", &["m.example"]);
    let settings = settings(home.path(), "[host.\"m.example\"]");
    let had = load(&settings).expect("loads").hosts;
    assert_eq!(had.len(), 1);

    fs::write(certs.join("m.key"), "half").expect("writable");
    let errors = check_kept(&settings, &had, &load(&settings).expect("lax")).expect_err("broken");
    let text = errors[0].to_string();
    assert!(text.contains(":1: host 'm.example' had a certificate and would have none now"), "{text}");
    assert!(text.contains("m.key"), "{text}");
    // Where it is taken away on purpose, it is.
    fs::remove_file(certs.join("m.crt")).expect("there");
    check_kept(&settings, &had, &load(&settings).expect("lax")).expect("on purpose");
}

#[test]
fn the_first_host_of_the_file_answers_clients_that_name_none() {
    let home = tempfile::tempdir().expect("a directory");
    write(&home.path().join("certs"), "both.crt", "both.key", &["a.example", "z.example"]);
    let loaded = load(&settings(home.path(), "[host.\"z.example\"]\n[host.\"a.example\"]")).expect("loads");
    assert!(format!("{:?}", loaded.identities[0]).contains("z.example"), "{:?}", loaded.identities);
}

#[test]
fn a_hosts_own_certificate_is_used_and_a_wrong_name_in_it_is_told() {
    let home = tempfile::tempdir().expect("a directory");
    write(home.path(), "own.pem", "own.key", &["other.example"]);
    let text = "[host.\"m.example\"]\ncertificate = \"own.pem\"\nkey = \"own.key\"";
    let loaded = load(&settings(home.path(), text)).expect("loads");
    assert_eq!(loaded.identities.len(), 1);
    let told = &loaded.warnings[0];
    assert!(told.contains("s2sd.toml:2: 'certificate': "), "{told}");
    let expected = "own.pem does not name m.example, but other.example: peers will refuse it; give one for m.example";
    assert!(told.ends_with(expected), "{told}");
}

#[test]
fn a_certificate_that_is_there_for_another_name_is_told_with_its_names() {
    let home = tempfile::tempdir().expect("a directory");
    let certs = home.path().join("certs");
    write(&certs, "o.crt", "o.key", &["o.example", "*.o.example", "p.example", "q.example", "r.example"]);
    let own = format!("{} names o.example, *.o.example, p.example, and 2 more", certs.join("o.crt").display());
    let told = format!("the certificate that is there does not name m.example: {own}");
    let loaded = load(&settings(home.path(), "[host.\"m.example\"]")).expect("no demand");
    assert_eq!(loaded.warnings, [format!("no certificate for m.example: it cannot offer encryption; {told}")]);
    for demand in ["s2s_secure_auth = true", "modules_disabled = [\"dialback\"]"] {
        let errors = load(&settings(home.path(), &format!("[host.\"m.example\"]\n{demand}"))).expect_err(demand);
        let text = errors[0].to_string();
        assert!(text.contains(":1: host 'm.example' "), "{text}");
        assert!(text.contains(&format!("has no certificate that can be used ({told})")), "{text}");
        assert!(
            text.ends_with(&format!(
                "mend that, or give 'certificate' and 'key', or put NAME.crt with NAME.key into {}",
                certs.display()
            )),
            "{text}"
        );
    }

    write(&certs, "a.crt", "a.key", &[]);
    for name in ["b", "c"] {
        write(&certs, &format!("{name}.crt"), &format!("{name}.key"), &["n.example"]);
    }
    let loaded = load(&settings(home.path(), "[host.\"m.example\"]")).expect("no demand");
    let expected = "none of the 4 certificates that are there names m.example: ";
    assert!(loaded.warnings[0].contains(expected), "{loaded:?}");
    assert!(loaded.warnings[0].contains("a.crt names no domain, since a common name does not count; "), "{loaded:?}");
    assert!(loaded.warnings[0].ends_with("c.crt names n.example; and 1 more"), "{loaded:?}");
}

#[test]
fn a_key_that_is_not_there_or_encrypted_is_told_with_its_option_its_line_and_what_to_do() {
    let home = tempfile::tempdir().expect("a directory");
    let certs = home.path().join("certs");
    write(&certs, "m.crt", "m.key", &["m.example"]);
    let key = certs.join("m.key");
    let own = "\n[host.\"m.example\"]\ncertificate = \"certs/m.crt\"\nkey = \"certs/m.key\"";
    let from_directory = "\ncertificates = \"certs\"\n[host.\"m.example\"]";
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (content, expected) in [
        (Some(encrypted), "the private key is encrypted, and s2sd asks nobody for its pass phrase: openssl pkey -in "),
        (Some("text"), "there is no private key in it: one in PEM begins with -----BEGIN PRIVATE KEY-----"),
        (None, "cannot be read: it does not exist; the private key of the certificate in "),
    ] {
        match content {
            Some(content) => fs::write(&key, content).expect("writable"),
            None => fs::remove_file(&key).expect("there"),
        }
        let expected = format!("{}: {expected}", key.display());
        let errors = load(&settings(home.path(), own)).expect_err("no key");
        let told = errors[0].to_string();
        assert!(errors.len() == 1 && told.contains(&format!("s2sd.toml:4: 'key': {expected}")), "{told}");
        let loaded = load(&settings(home.path(), from_directory)).expect("no demand");
        let told = &loaded.warnings[0];
        assert!(told.contains(&format!("s2sd.toml:2: 'certificates': {expected}")), "{told}");
        // A host that needs one has it in its own line too.
        let demanding = format!("s2s_secure_auth = true{from_directory}");
        let errors = load(&settings(home.path(), &demanding)).expect_err("no certificate");
        let told = errors[0].to_string();
        assert!(told.contains("s2sd.toml:3: host 'm.example' demands") && told.contains(&expected), "{told}");
    }
}

#[test]
fn a_certificate_that_cannot_be_read_is_told_with_its_option_and_its_line() {
    let home = tempfile::tempdir().expect("a directory");
    write(home.path(), "m.crt", "m.key", &["m.example"]);
    fs::create_dir(home.path().join("directory")).expect("a directory");
    for (file, expected) in [
        ("absent.crt", "absent.crt: cannot be read: it does not exist"),
        ("directory", "directory: cannot be read: it is a directory, but must be a file"),
        ("m.key", "m.key: there is no certificate in it: one in PEM begins with -----BEGIN CERTIFICATE-----"),
    ] {
        let text = format!("[host.\"m.example\"]\nkey = \"m.key\"\ncertificate = \"{file}\"");
        let errors = load(&settings(home.path(), &text)).expect_err(file);
        let told = errors[0].to_string();
        assert!(errors.len() == 1 && told.contains("s2sd.toml:3: 'certificate': "), "{told}");
        assert!(told.ends_with(expected), "{told}");
    }
}

#[test]
fn a_configured_directory_must_exist() {
    let home = tempfile::tempdir().expect("a directory");
    let errors = load(&settings(home.path(), "certificates = \"no-such\"\n[host.\"m.example\"]"));
    let errors = errors.expect_err("absent");
    assert!(errors[0].to_string().contains("'certificates': "), "{errors:?}");
}
