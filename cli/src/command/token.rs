//! `hostler token …`: tokens that admit nodes.

use std::path::PathBuf;

use hostler_plan::{document::Approval, id::TokenId, text::count, trust::Duty};
use serde_json::{Value, json};

use super::{
    Context,
    members::{self, next_signers},
    membership,
};
use crate::{
    Admin,
    admin::now,
    args::{TokenCommand, duration_text},
    error::Error,
    file::write_document,
    membership::Membership,
    output::{clean, note, print, table},
    roster,
    token::{self, Token, TokenRequest},
};

pub(super) async fn run(context: &Context, command: TokenCommand) -> Result<(), Error> {
    let mut admin = context.admin().await?;
    match command {
        TokenCommand::Create { uses, ttl, role, manual, out } => {
            let approval = if manual { Approval::Manual } else { Approval::Automatic };
            let request = TokenRequest { uses, lifetime: ttl, role: role.into(), approval };
            if Duty::Admission.needed(admin.trust_store().root()) > 1 {
                return create_for_several(context, &admin, &request, out);
            }
            let join = token::create(&mut admin, &request, now()).await?;
            note(&format!(
                "token {} admits {} for {}; put this secret line into /etc/hostler/join of {}:",
                join.token,
                count(uses, "node"),
                duration_text(ttl),
                if uses == 1 { "the node" } else { "each node" }
            ));
            print(context.output, || json!({ "token": join.token, "join_string": join.encode() }), || join.encode())
        }
        TokenCommand::JoinString { token } => {
            let held = token::list(&mut admin).await?;
            let counts = |t: &Token| t.admission.as_ref().is_ok_and(|a| a.document().token == token);
            if !held.iter().any(counts) {
                return Err(Error::Usage(format!(
                    "expected token {token} in the coordinator's ledger, found it is not there yet; hand its admission \
                     in with `hostler submit` when enough keys signed it"
                )));
            }
            membership::print_join_string(context, &admin, &token)
        }
        TokenCommand::List => {
            let tokens = token::list(&mut admin).await?;
            print(
                context.output,
                || json!({ "tokens": tokens.iter().map(as_json).collect::<Vec<_>>() }),
                || {
                    let rows: Vec<_> = tokens.iter().map(row).collect();
                    table(["TOKEN", "STATE", "USED", "ROLE", "APPROVAL", "EXPIRES", "NODES"], &rows)
                },
            )
        }
        TokenCommand::Revoke { token, out } => revoke(context, &mut admin, &token, out).await,
    }
}

/// The admission in a file, with the first of the signatures that it needs.
fn create_for_several(
    context: &Context,
    admin: &Admin,
    request: &TokenRequest,
    out: Option<PathBuf>,
) -> Result<(), Error> {
    let draft = token::draft(admin, request, now())?;
    let id = draft.document().token.clone();
    let mut admission = Membership::Admission(draft);
    note(&admission.summary(admin.trust_store()));
    admission.sign(admin.trust_store(), admin.signer(), now()).inspect_err(|_| token::forget(admin, &id))?;
    let path = out.unwrap_or_else(|| PathBuf::from(format!("token-{id}.json")));
    write_document(&path, admission.signed())?;
    let file = path.display().to_string();
    print(
        context.output,
        || json!({ "token": id, "file": file, "join_string": null }),
        || format!("{}\nthen here: hostler token join-string {id}", next_signers(&path)),
    )
}

/// At once, unsigned, by the coordinator; and by a roster, which makes it true whoever holds the coordinator.
async fn revoke(context: &Context, admin: &mut Admin, token: &TokenId, out: Option<PathBuf>) -> Result<(), Error> {
    if let Err(error) = token::revoke(admin, token).await {
        note(&format!(
            "the coordinator did not end token {token} at once: {error}; the roster that is signed now will"
        ));
    }
    let handed =
        members::anew(admin, async |admin| match roster::revoking(admin, std::slice::from_ref(token), now()).await? {
            None => Ok(None),
            Some(next) => members::hand_on(admin, &next, out.clone()).await.map(Some),
        });
    let Some(handed) = handed.await? else {
        return print(
            context.output,
            || json!({ "token": token, "revoked": true, "roster": null, "file": null }),
            || format!("token {token} is revoked by the roster already"),
        );
    };
    members::print_handed(
        context,
        &handed,
        json!({ "token": token, "revoked": true }),
        &format!("token {token} is revoked"),
    )
}

fn state(token: &Token) -> &'static str {
    match &token.admission {
        Err(_) => "not valid",
        Ok(_) if token.revocation_signed => "revoked",
        // What a roster will make true, or what somebody else who holds the coordinator says.
        Ok(_) if token.revoked => "revoked, unsigned",
        Ok(a) if now() >= a.document().expires => "expired",
        Ok(a) if token.used >= a.document().uses => "used up",
        Ok(_) => "open",
    }
}

fn row(token: &Token) -> [String; 7] {
    let nodes = clean(&token.nodes.join(",")).into_owned();
    match &token.admission {
        Err(refused) => {
            let dash = || "-".to_owned();
            [
                dash(),
                state(token).into(),
                token.used.to_string(),
                dash(),
                dash(),
                dash(),
                clean(&refused.reason).into_owned(),
            ]
        }
        Ok(admission) => {
            let a = admission.document();
            [
                a.token.to_string(),
                state(token).into(),
                format!("{}/{}", token.used, a.uses),
                a.role.to_string(),
                approval_word(a.approval).into(),
                a.expires.to_string(),
                nodes,
            ]
        }
    }
}

fn as_json(token: &Token) -> Value {
    let common = json!({ "state": state(token), "used": token.used, "revoked": token.revoked || token.revocation_signed,
        "revocation_signed": token.revocation_signed, "nodes": token.nodes });
    let more = match &token.admission {
        Err(refused) => json!({ "refusal": refused.refusal, "reason": refused.reason }),
        Ok(admission) => {
            let a = admission.document();
            json!({ "token": a.token, "uses": a.uses, "role": a.role.word(),
                "approval": approval_word(a.approval), "created": a.created, "expires": a.expires })
        }
    };
    let (Value::Object(mut all), Value::Object(more)) = (common, more) else { return Value::Null };
    all.extend(more);
    Value::Object(all)
}

fn approval_word(approval: Approval) -> &'static str {
    match approval {
        Approval::Automatic => "automatic",
        Approval::Manual => "manual",
    }
}
