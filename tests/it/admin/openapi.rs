//! The document that describes the API is held to what the API is, both ways. What its answers look like is held to it by
//! `tests/clients/admin-api.test.mjs`.

use std::collections::{BTreeMap, BTreeSet};

use flowgate::metrics::CloseReason;
use flowgate::reject::Code;
use serde_json::{Value, json};

use crate::harness::operator::operated;

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// The methods of each path that is described.
fn described(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let methods =
        |item: &Value| item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
    document["paths"].as_object().unwrap().iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

/// The paths that the code routes below `/api`: in `api.rs`, and in the files whose `routes` it takes in.
fn routed() -> BTreeSet<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/internal");
    let read = |name: &str| std::fs::read_to_string(folder.join(format!("{name}.rs"))).unwrap();
    let api = read("api");
    let calls: Vec<&str> = api.split("::routes(").collect();
    let merged = calls[..calls.len() - 1].iter().map(|before| {
        let begin = before.rfind(|c: char| !c.is_alphanumeric() && c != '_').unwrap() + 1;
        read(&before[begin..])
    });
    let texts: Vec<String> = merged.chain([api.clone()]).collect();
    assert!(texts.len() >= 3, "{texts:?}");
    let paths = texts.iter().flat_map(|text| text.split(".route(\"").skip(1));
    // Beside the API's own guard there are some with another.
    let outside = read("mod");
    let outside = outside.split(".route(\"/api").skip(1);
    paths.chain(outside).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let (_sidecar, operator) = operated("").await;
    let document = operator.get("/api/openapi.json").await;
    let written: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    assert_eq!(document, written);
    assert_eq!(
        (&document["openapi"], &document["info"]["version"]),
        (&json!("3.1.0"), &json!(env!("CARGO_PKG_VERSION")))
    );
    let described = described(&document);
    assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), routed());
    for (path, methods) in &described {
        let target = format!("/api{}", path.replace("{id}", "none-of-this-id"));
        for method in METHODS {
            if path == "/live" && method == "GET" {
                continue;
            }
            let answer = operator.request(method, &target, &[], "").await;
            let is_described = methods.contains(method);
            assert_eq!(answer.status != 405, is_described, "{method} {path}: {answer:?}");
            assert!(!answer.body.contains("there is nothing at this path"), "{method} {path}");
            if !is_described {
                let allowed = answer.header("allow").unwrap().split(',').map(str::to_owned);
                let allowed: BTreeSet<_> = allowed.filter(|method| method != "HEAD").collect();
                assert_eq!(&allowed, methods, "{path}");
            }
        }
    }
}

#[test]
fn the_codes_and_reasons_that_are_described_are_those_that_there_are() {
    let document: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    let described = |pointer: &str| document.pointer(pointer).unwrap().clone();
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let reasons: Vec<&str> = CloseReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let sample = "/components/schemas/Sample/properties";
    assert_eq!(described(&format!("{sample}/refusals/propertyNames/enum")), json!(codes));
    assert_eq!(described(&format!("{sample}/closes/propertyNames/enum")), json!(reasons));
    let observed = "/components/schemas/Observed/properties/events/items/properties/code/enum";
    assert_eq!(described(observed), json!(codes));
}

#[test]
fn every_part_that_is_referred_to_is_there_and_every_operation_says_what_can_go_wrong() {
    let document: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = &operation["responses"];
            for status in ["401", "403", "429"] {
                assert!(responses.get(status).is_some(), "{method} {path} lacks {status}");
            }
            let takes_body = operation.get("requestBody").is_some();
            assert_eq!(responses.get("413").is_some(), takes_body, "{method} {path}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{operation}");
            assert!(!operation["summary"].as_str().unwrap().is_empty());
        }
    }
    let page = include_str!("../../../docs/admin-api.md");
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("/api{path}")), "docs/admin-api.md lacks {path}");
    }
}
