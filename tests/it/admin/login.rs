//! A page's session: the token once, then a cookie that no other page can use.

use serde_json::{Value, json};

use crate::harness::http::{Answer, Http};
use crate::harness::operator::{Operator, TOKEN, operated};
use crate::harness::{Sidecar, code_of, within};

/// A request without the token.
async fn ask(operator: Operator, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut http = Http::to(operator.0).await;
    within("an answer", http.request(method, target, headers, body)).await
}

fn body(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"))
}

fn login() -> String {
    json!({ "token": TOKEN }).to_string()
}

/// Logs in, and returns the cookie and what requests that change something need.
async fn log_in(operator: Operator) -> (String, String) {
    let answer = ask(operator, "POST", "/api/session", &[], &login()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    (cookie, body(&answer)["csrf"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_token_is_handed_over_once_and_the_cookie_stands_for_it() {
    let (_sidecar, operator) = operated("").await;
    let nobody = ask(operator, "GET", "/api/session", &[], "").await;
    assert_eq!((nobody.status, body(&nobody)), (200, json!({ "authenticated": false })));
    let answer = ask(operator, "POST", "/api/session", &[("Origin", "http://localhost")], &login()).await;
    let set = answer.header("set-cookie").unwrap().to_owned();
    assert!(
        set.starts_with("flowgate_admin=") && set.ends_with("; Path=/; HttpOnly; SameSite=Strict"),
        "{set}"
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let said = body(&answer);
    assert_eq!((&said["authenticated"], &said["by"]), (&json!(true), &json!("session")));
    let cookie = set.split(';').next().unwrap();
    assert!(!answer.body.contains(TOKEN) && !answer.body.contains(&cookie["flowgate_admin=".len()..]));
    let told = ask(operator, "GET", "/api/session", &[("Cookie", cookie)], "").await;
    assert_eq!(body(&told), said);
    assert_eq!(ask(operator, "GET", "/api/status", &[("Cookie", cookie)], "").await.status, 200);
    let with_token = operator.get("/api/session").await;
    assert_eq!(with_token, json!({ "authenticated": true, "by": "token" }));
    let over_https = [("X-Forwarded-Proto", "https")];
    let secure = ask(operator, "POST", "/api/session", &over_https, &login()).await;
    assert!(secure.header("set-cookie").unwrap().contains("; Secure"), "{secure:?}");
}

#[tokio::test]
async fn wrong_tokens_open_nothing_and_are_limited() {
    let (sidecar, operator) = operated("").await;
    for (wrong, status, code) in [
        (json!({ "token": "not-the-admin-token" }), 401, "unauthorized"),
        (json!({ "token": "" }), 401, "unauthorized"),
        (json!({ "token": 7 }), 400, "invalid_request"),
        (json!({ "password": TOKEN }), 400, "invalid_request"),
        (json!({}), 400, "invalid_request"),
    ] {
        let answer = ask(operator, "POST", "/api/session", &[], &wrong.to_string()).await;
        assert_eq!((answer.status, &*code_of(&answer)), (status, code), "{wrong}");
        assert_eq!(answer.header("set-cookie"), None);
        assert!(!answer.body.contains(TOKEN), "{answer:?}");
    }
    let too_long = json!({ "token": "x".repeat(5000) }).to_string();
    assert_eq!(ask(operator, "POST", "/api/session", &[], &too_long).await.status, 413);
    let mut limited = 0;
    for guess in 0..100 {
        let wrong = json!({ "token": format!("guess-number-{guess}") }).to_string();
        let answer = ask(operator, "POST", "/api/session", &[], &wrong).await;
        limited += usize::from(answer.status == 429);
        assert!([401, 429].contains(&answer.status), "{answer:?}");
    }
    assert!(limited > 0);
    assert_eq!(
        ask(operator, "POST", "/api/session", &[], &login()).await.status,
        200,
        "the right one always passes"
    );
    assert!(sidecar.metric("flowgate_admin_unauthorized_total").await >= 102.0);
    let closed = Sidecar::start("").await;
    for method in ["GET", "POST", "DELETE"] {
        let answer = ask(Operator(closed.internal), method, "/api/session", &[], &login()).await;
        assert_eq!((answer.status, &*code_of(&answer)), (403, "admin_disabled"), "{method}");
    }
    let answer = ask(operator, "PUT", "/api/session", &[], "").await;
    assert_eq!((answer.status, &*code_of(&answer)), (405, "method_not_allowed"));
}

#[tokio::test]
async fn with_a_cookie_only_the_page_of_this_host_changes_anything() {
    let (_sidecar, operator) = operated("").await;
    let (cookie, csrf) = log_in(operator).await;
    let wanted = r#"{"user":"nobody"}"#;
    let (mine, here) = (("X-Flowgate-Csrf", &*csrf), ("Origin", "http://localhost"));
    let other = format!("{csrf}x");
    for (headers, status, code) in [
        (&[][..], 403, "csrf"),
        (&[("X-Flowgate-Csrf", "")], 403, "csrf"),
        (&[("X-Flowgate-Csrf", &*other)], 403, "csrf"),
        (&[mine, mine], 403, "csrf"),
        (&[here], 403, "csrf"),
        (&[mine, ("Origin", "http://evil.test")], 403, "origin"),
        (&[mine, ("Origin", "http://localhost:3000")], 403, "origin"),
        (&[mine, ("Origin", "null")], 403, "origin"),
        (&[mine], 200, ""),
        (&[mine, here], 200, ""),
    ] {
        for (method, target, body) in
            [("POST", "/api/disconnect", wanted), ("POST", "/api/revocations", r#"{"tokenId":"t"}"#)]
        {
            let headers = [&[("Cookie", &*cookie)], headers].concat();
            let answer = ask(operator, method, target, &headers, body).await;
            match status {
                200 => assert!([200, 201].contains(&answer.status), "{answer:?}"),
                _ => assert_eq!((answer.status, &*code_of(&answer)), (status, code), "{headers:?} {target}"),
            }
        }
    }
    // The login itself is no other page's to make, and the token needs none of it.
    let answer = ask(operator, "POST", "/api/session", &[("Origin", "http://evil.test")], &login()).await;
    assert_eq!((answer.status, &*code_of(&answer)), (403, "origin"));
    assert_eq!(operator.ask("POST", "/api/disconnect", wanted).await.0, 200);
    // Whoever brings a wrong token has no use of a right cookie.
    let both = [("Cookie", &*cookie), ("Authorization", "Bearer wrong-admin-token")];
    assert_eq!(ask(operator, "GET", "/api/status", &both, "").await.status, 401);
}

#[tokio::test]
async fn a_session_ends_when_its_page_says_so() {
    let (sidecar, operator) = operated("").await;
    let (cookie, csrf) = log_in(operator).await;
    let (other, _) = log_in(operator).await;
    let with = ("Cookie", &*cookie);
    let answer = ask(operator, "DELETE", "/api/session", &[with], "").await;
    assert_eq!((answer.status, &*code_of(&answer)), (403, "csrf"));
    let answer = ask(operator, "DELETE", "/api/session", &[with, ("X-Flowgate-Csrf", &*csrf)], "").await;
    assert_eq!((answer.status, &*answer.body), (204, ""));
    assert!(answer.header("set-cookie").unwrap().contains("Max-Age=0"), "{answer:?}");
    let before = sidecar.metric("flowgate_admin_unauthorized_total").await;
    for _ in 0..30 {
        let answer = ask(operator, "GET", "/api/status", &[with], "").await;
        assert_eq!((answer.status, &*code_of(&answer)), (401, "session_ended"));
    }
    assert_eq!(
        sidecar.metric("flowgate_admin_unauthorized_total").await,
        before,
        "a page left open guesses nothing"
    );
    let told = ask(operator, "GET", "/api/session", &[with], "").await;
    assert_eq!(body(&told), json!({ "authenticated": false }));
    assert_eq!(ask(operator, "GET", "/api/status", &[("Cookie", &*other)], "").await.status, 200);
    assert_eq!(ask(operator, "DELETE", "/api/session", &[], "").await.status, 204);
}
