//! `DELETE /v1/ice/{credentialId}` and `DELETE /v1/subjects/{subject}/credentials`: the relay ends allocations at once.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use turnpike_relay_api::{
    admin::{REVOKE, Revoke, Revoked},
    target::Target,
};

use super::{
    Context, ice, keys,
    problem::{Code, Problem},
};
use crate::relay_admin::{self, Failure};

const RETRY_AFTER: Duration = Duration::from_secs(5);

pub(super) async fn credential(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    keys::require(&context.api_keys.load(), &headers)?;
    let is_id = id.len() == 12 && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if !is_id {
        return Err(Problem::new(
            Code::BadRequest,
            "a credentialId of POST /v1/ice has 12 characters of base64url",
        ));
    }
    revoke(&context, Target::Credential(id)).await
}

pub(super) async fn subject(
    State(context): State<Arc<Context>>,
    Path(subject): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    keys::require(&context.api_keys.load(), &headers)?;
    if !ice::is_subject(&subject) {
        return Err(Problem::new(Code::BadRequest, "subject is 1 to 51 characters of A-Z a-z 0-9 . _ -"));
    }
    revoke(&context, Target::Subject(subject)).await
}

async fn revoke(context: &Context, target: Target) -> Result<StatusCode, Problem> {
    if !context.own_relay {
        let detail =
            "ice.urls names relays of others, which this node cannot tell; ask the operator of those";
        return Err(Problem::new(Code::RelayUnavailable, detail));
    }
    let revoke = Revoke { target, until: None };
    match relay_admin::post::<Revoked>(&context.admin_socket, REVOKE, &revoke).await {
        Ok(revoked) => {
            count(context, "revoked");
            tracing::info!(target = ?revoke.target, allocations = revoked.ended, "revoked for an API key");
            Ok(StatusCode::NO_CONTENT)
        }
        Err(Failure::Refused(status)) => {
            count(context, "refused");
            Err(Problem::new(
                Code::BadRequest,
                format!("the relay refuses to revoke that: it answers {status}"),
            ))
        }
        Err(Failure::Away(error)) => {
            tracing::warn!(
                code = "not_revoked",
                target = ?revoke.target,
                %error,
                "the relay could not be told of a revocation, and the caller knows; see that it runs, and that \
                 relay.admin_socket is the same for both services"
            );
            let detail = "the relay cannot be reached, so nothing was revoked; ask again";
            Err(Problem::new(Code::RelayUnavailable, detail).retry_after(RETRY_AFTER))
        }
    }
}

fn count(context: &Context, result: &str) {
    context.metrics.credentials_revoked.with_label_values(&["rest", result]).inc();
}
