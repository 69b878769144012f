//! `hostler sign` and `hostler submit` of rosters and tokens.

use hostler_plan::{document::DocumentKind, text::count};
use serde_json::json;

use super::Context;
use crate::{
    Admin,
    admin::now,
    args::{SignArgs, SubmitArgs},
    ask::confirm,
    error::Error,
    file::add_signature,
    membership::Membership,
    output::{clean, note, print},
    root::Count,
    token,
    trust_store::TrustStore,
};

/// `hostler sign` of a roster or a token.
pub(super) async fn sign(context: &Context, kind: DocumentKind, args: SignArgs) -> Result<(), Error> {
    let mut document = Membership::read(kind, &args.document)?;
    // What it follows may be newer than what is held here: ask for it, with proof.
    let (store, signer) = context.admin().await?.into_parts();
    note(&summary(&document, &store));
    confirm(&format!("sign {} with {}?", document.name(), signer.public_key().fingerprint()), args.yes)?;
    let armour = document.sign(&store, &signer, now())?;
    let path = add_signature(&args.document, &armour)?;
    let (signing, file) = (document.signing(&store), args.document.display());
    print(
        context.output,
        || {
            json!({ "document": document.name(), "digest": document.signed().digest(),
                "signature": path.display().to_string(), "signed_by": signing.by, "needed": signing.needed })
        },
        || {
            let next = match signing.missing() {
                0 => format!("next: hostler submit {file}"),
                n => format!("next: hostler sign {file}, by {} more", count(n, "signer")),
            };
            format!("wrote {} ({})\n{next}", path.display(), signed_by(&signing))
        },
    )
}

fn summary(document: &Membership, store: &TrustStore) -> String {
    let signing = document.signing(store);
    format!("{}\n  signed    {}; needs {}", document.summary(store), signed_by(&signing), signing.needed)
}

fn signed_by(signing: &Count) -> String {
    match signing.by.is_empty() {
        true => "by nobody yet".to_owned(),
        false => clean(&format!("by {}", signing.by.join(", "))).into_owned(),
    }
}

/// `hostler submit` of a roster or a token. Where the private half of the token waits, its join string is printed.
pub(super) async fn submit(context: &Context, kind: DocumentKind, args: SubmitArgs) -> Result<(), Error> {
    let document = Membership::read(kind, &args.document)?;
    let mut admin = context.admin().await?;
    let is_new = document.submit(&mut admin, now()).await?;
    let again = if is_new { "" } else { " (it had it already)" };
    match document {
        Membership::Roster(roster) => {
            let (version, digest) = (roster.document().version, roster.signed().digest());
            print(
                context.output,
                || json!({ "roster": version, "digest": digest, "is_new": is_new }),
                || format!("roster {version} is in the coordinator's ledger{again}"),
            )
        }
        Membership::Admission(admission) => {
            let token = &admission.document().token;
            note(&format!("token {token} is in the coordinator's ledger{again}"));
            if token::is_held(&admin, token) {
                return print_join_string(context, &admin, token);
            }
            print(
                context.output,
                || json!({ "token": token, "is_new": is_new, "join_string": null }),
                || format!("its private half waits where it was made; there: hostler token join-string {token}"),
            )
        }
    }
}

/// The join string of a token that was accepted, once.
pub(super) fn print_join_string(
    context: &Context,
    admin: &Admin,
    token: &hostler_plan::id::TokenId,
) -> Result<(), Error> {
    let join = token::join_string(admin, token)?;
    note("put this secret line into /etc/hostler/join of each node; it is printed this once:");
    print(context.output, || json!({ "token": token, "join_string": join.encode() }), || join.encode())
}
