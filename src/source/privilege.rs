//! Missing privileges: the user that lacks one, and the command that grants it.

use bson::doc;
use mongodb::error::Error;

use crate::config::Scope;
use crate::error::{Failure, Kind};
use crate::shell_syntax::to_shell_line;

use super::connection::Connection;
use super::messages::describe;

/// Privileges of a change stream.
pub(super) const STREAM: &str = "changeStream and find";

/// A user as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    name: String,
    /// The database in which it was created.
    db: String,
}

impl User {
    /// Asks the server who is logged in, which needs no privilege. Returns `None` if it does not report that.
    pub(super) async fn logged_in(connection: &Connection) -> Option<Self> {
        let status = connection.run("admin", doc! { "connectionStatus": 1 });
        let reply = status.await.ok()?;
        let users = reply.get_document("authInfo").ok()?;
        let users = users.get_array("authenticatedUsers").ok()?;
        let user = users.first()?.as_document()?;
        Some(Self {
            name: user.get_str("user").ok()?.to_owned(),
            db: user.get_str("db").ok()?.to_owned(),
        })
    }
}

/// Returns the failure when `user` lacks `privileges` on `scope`: names a role that has them, or reports that no user is logged in.
pub(super) fn failure(
    error: &Error,
    privileges: &str,
    scope: &Scope,
    user: Option<&User>,
) -> Failure {
    let reply = describe(error);
    if reply.contains("requires authentication") {
        return Failure::new(Kind::Refused, format!("not logged in: {reply}")).hint(
            "write user:password@ before the host in --uri, and authSource= after it when the user was not created in admin",
        );
    }
    let (resource, role, db) = match scope {
        Scope::Deployment => (
            "every database ({db: \"\", collection: \"\"})".to_owned(),
            "readAnyDatabase",
            "admin",
        ),
        Scope::Database(db) | Scope::Collections(db, _) => {
            (format!("database {db}"), "read", &**db)
        }
        Scope::Collection(db, coll) => (format!("{db}.{coll}"), "read", &**db),
    };
    let (subject, hint) = match user {
        Some(user) => (
            format!(" for user {} of {}", user.name, user.db),
            format!("in mongosh: {}", grant(user, role, db)),
        ),
        None => (
            String::new(),
            format!("grant the user the role {role} on {db}"),
        ),
    };
    let message = format!("missing privilege: {privileges} on {resource}{subject} ({reply})");
    Failure::new(Kind::Refused, message).hint(hint)
}

/// Returns the call that grants the role.
fn grant(user: &User, role: &str, db: &str) -> String {
    let home = to_shell_line(&user.db);
    let name = to_shell_line(&user.name);
    let role = to_shell_line(doc! { "role": role, "db": db });
    format!("db.getSiblingDB({home}).grantRolesToUser({name}, [{role}])")
}

#[cfg(test)]
mod tests {
    use super::super::classify::fake::from_server;
    use super::*;

    fn scope() -> Scope {
        Scope::Collection("shop".to_owned(), "orders".to_owned())
    }

    fn failure_of(scope: &Scope, user: Option<(&str, &str)>) -> Failure {
        let user = user.map(|(name, db)| User {
            name: name.to_owned(),
            db: db.to_owned(),
        });
        failure(&from_server(13, "message"), STREAM, scope, user.as_ref())
    }

    #[test]
    fn names_the_user_and_the_command_that_grants_the_privilege() {
        let failure = failure_of(&scope(), Some(("app", "admin")));
        assert_eq!(
            failure.message,
            "missing privilege: changeStream and find on shop.orders for user app of admin (message (Name, code 13))"
        );
        assert_eq!(
            failure.hint,
            r#"in mongosh: db.getSiblingDB("admin").grantRolesToUser("app", [{ role: "read", db: "shop" }])"#
        );
        let failure = failure_of(&Scope::Deployment, Some((r#"CN="a""#, "$external")));
        assert_eq!(
            failure.hint,
            r#"in mongosh: db.getSiblingDB("$external").grantRolesToUser("CN=\"a\"", [{ role: "readAnyDatabase", db: "admin" }])"#
        );
    }

    #[test]
    fn names_the_role_if_the_user_is_unknown() {
        let failure = failure_of(&scope(), None);
        assert_eq!(
            failure.message,
            "missing privilege: changeStream and find on shop.orders (message (Name, code 13))"
        );
        assert_eq!(failure.hint, "grant the user the role read on shop");
        let failure = failure_of(&Scope::Deployment, None);
        assert!(failure.hint.ends_with("readAnyDatabase on admin"));
    }
}
