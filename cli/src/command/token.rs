//! `hostler token …`: tokens that admit nodes.

use hostler_plan::{document::Approval, text::count};
use serde_json::{Value, json};

use super::Context;
use crate::{
    admin::now,
    args::{TokenCommand, duration_text},
    error::Error,
    output::{clean, note, print, table},
    token::{self, Token, TokenRequest},
};

pub(super) async fn run(context: &Context, command: TokenCommand) -> Result<(), Error> {
    let mut admin = context.admin().await?;
    match command {
        TokenCommand::Create { uses, ttl, role, manual } => {
            let approval = if manual { Approval::Manual } else { Approval::Automatic };
            let request = TokenRequest { uses, lifetime: ttl, role: role.into(), approval };
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
        TokenCommand::Revoke { token } => {
            token::revoke(&mut admin, &token).await?;
            print(context.output, || json!({ "token": token, "revoked": true }), || format!("token {token} is revoked"))
        }
    }
}

fn state(token: &Token) -> &'static str {
    match &token.admission {
        Err(_) => "not valid",
        Ok(_) if token.revoked => "revoked",
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
    let common = json!({ "state": state(token), "used": token.used, "revoked": token.revoked, "nodes": token.nodes });
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
