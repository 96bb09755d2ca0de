//! Identity of a deployment, by what its servers report and never by how a connection string is written.

use bson::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a server signs cluster times with one key, unless `KeysRotationIntervalSec` says otherwise: 90 days.
const KEY_ROTATION_SECONDS: u32 = 90 * 24 * 3600;

/// Subtracted from [`KEY_ROTATION_SECONDS`]: the first two keys are generated one after the other, and used one after the other.
const KEY_ROTATION_MARGIN_SECONDS: u32 = 24 * 3600;

/// What distinguishes a deployment from others, as far as the user may read it.
///
/// A replica set that was initiated again on empty disks is another deployment, also under the same name. `replicaSetId` and `clusterId`
/// are unique, but with authentication only an administrator may read them (measured on MongoDB 6.0.27: `replSetGetConfig` fails with code
/// 13 for a user with the role `read`). The key that signs cluster times is known to every client of a deployment with authentication,
/// also to one that is not logged in (measured on MongoDB 6.0.27: `$clusterTime.signature.keyId` in the reply to `hello`). It is 0 without
/// authentication, where everyone may read `replicaSetId`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentId {
    /// Name of the replica set; `None` through a mongos.
    pub set: Option<String>,
    /// Whether it was reached through a mongos.
    #[serde(default)]
    pub sharded: bool,
    /// `replicaSetId`, or `clusterId` through a mongos, in hexadecimal digits.
    #[serde(default, rename = "deployment")]
    pub id: Option<String>,
    /// The key that signs cluster times.
    #[serde(default, rename = "signingKey")]
    pub key: Option<SigningKey>,
}

/// The key that signs cluster times. Its id is the cluster time at which it was generated (measured on MongoDB 6.0.27): when the deployment
/// was initiated for the first two, and at least [`KEY_ROTATION_SECONDS`] before it is first used for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey(i64);

impl SigningKey {
    /// Takes a `keyId`; `None` for 0, which means that nothing is signed.
    pub(crate) fn from_id(id: i64) -> Option<Self> {
        (id != 0).then_some(Self(id))
    }

    /// Returns whether `now` is too early for this key to have been replaced, or to be in use in place of an earlier one.
    fn is_unrotated(self, now: Timestamp) -> bool {
        let generated_at = u32::try_from(self.0 >> 32).unwrap_or_default();
        now.time < generated_at.saturating_add(KEY_ROTATION_SECONDS - KEY_ROTATION_MARGIN_SECONDS)
    }
}

/// The result of comparing a saved identity with that of the deployment that was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// Both are of one deployment.
    Same,
    /// Nothing that both sides know proves either.
    Unknown,
    /// They are of two deployments.
    Different(Difference),
}

/// How two identities differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference {
    /// The name of the replica set, or whether there is a mongos in between.
    Topology {
        /// In the saved identity, as messages name it.
        saved: String,
        /// Now.
        now: String,
    },
    /// The unique id, or a key that cannot have been replaced yet.
    Id {
        /// What was compared, as messages name it.
        part: &'static str,
        /// In the saved identity.
        saved: String,
        /// Now.
        now: String,
    },
}

impl DeploymentId {
    /// Returns the deployment's kind and name, as messages name it.
    fn topology(&self) -> String {
        match &self.set {
            Some(set) => format!("replica set {set}"),
            None if self.sharded => "a sharded cluster".to_owned(),
            None => "a standalone server".to_owned(),
        }
    }

    /// Compares `self`, which was saved, with `current`, the identity of the deployment that was reached, at its cluster time `now`.
    pub(crate) fn compare(&self, current: &Self, now: Timestamp) -> Comparison {
        let is_other_set = matches!((&self.set, &current.set), (Some(a), Some(b)) if a != b);
        if is_other_set || self.sharded != current.sharded {
            let now = match is_other_set {
                true => current.set.clone().unwrap_or_default(),
                false => current.topology(),
            };
            return Comparison::Different(Difference::Topology {
                saved: self.topology(),
                now,
            });
        }
        if let (Some(saved), Some(id)) = (&self.id, &current.id) {
            return match saved == id {
                true => Comparison::Same,
                false => Comparison::Different(Difference::Id {
                    part: "id",
                    saved: saved.clone(),
                    now: id.clone(),
                }),
            };
        }
        match (self.key, current.key) {
            (Some(saved), Some(key)) if saved == key => Comparison::Same,
            (Some(saved), Some(key)) if saved.is_unrotated(now) || key.is_unrotated(now) => {
                Comparison::Different(Difference::Id {
                    part: "signing key",
                    saved: saved.0.to_string(),
                    now: key.0.to_string(),
                })
            }
            _ => Comparison::Unknown,
        }
    }

    /// Returns `self` with the parts that only `saved` knows, to be kept by a user who may read less than the one before.
    pub(crate) fn completed_by(mut self, saved: &Self) -> Self {
        self.set = self.set.or_else(|| saved.set.clone());
        self.id = self.id.or_else(|| saved.id.clone());
        self.key = self.key.or(saved.key);
        self
    }

    /// Returns a string that identifies the deployment, for the name of a file.
    pub(crate) fn name(&self) -> String {
        let set = self.set.as_deref().unwrap_or_default();
        let key = self.key.map(|key| key.0.to_string());
        let id = self.id.clone().or(key).unwrap_or_default();
        format!("{set}\n{id}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u32 = 24 * 3600;
    const BIRTH: u32 = 1_795_000_000;

    const fn at(time: u32) -> Timestamp {
        Timestamp { time, increment: 1 }
    }

    fn with_key(generated_at: u32) -> DeploymentId {
        DeploymentId {
            set: Some("rs0".to_owned()),
            sharded: false,
            id: None,
            key: SigningKey::from_id((i64::from(generated_at) << 32) + 6),
        }
    }

    fn with_id(digit: &str) -> DeploymentId {
        DeploymentId {
            set: Some("rs0".to_owned()),
            sharded: false,
            id: Some(digit.repeat(24)),
            key: None,
        }
    }

    fn is_different(saved: &DeploymentId, current: &DeploymentId, now: Timestamp) -> bool {
        matches!(saved.compare(current, now), Comparison::Different(_))
    }

    #[test]
    fn distinguishes_sets_by_name_and_a_mongos_from_a_set() {
        let saved = with_key(BIRTH);
        let mut other = saved.clone();
        other.set = Some("rs1".to_owned());
        assert!(is_different(&saved, &other, at(BIRTH)));
        // The shards of a cluster share their keys with its mongos.
        let mongos = DeploymentId {
            set: None,
            sharded: true,
            ..saved.clone()
        };
        assert!(is_different(&saved, &mongos, at(BIRTH)));
        assert!(is_different(&mongos, &saved, at(BIRTH)));
    }

    #[test]
    fn distinguishes_sets_of_one_name_by_their_ids() {
        let now = at(BIRTH);
        assert_eq!(with_id("a").compare(&with_id("a"), now), Comparison::Same);
        assert!(is_different(&with_id("a"), &with_id("b"), now));
        // An id outweighs a key: a key may be replaced, an id never is.
        let rotated = DeploymentId {
            key: with_key(BIRTH + 1).key,
            ..with_id("a")
        };
        let saved = DeploymentId {
            key: with_key(BIRTH).key,
            ..with_id("a")
        };
        assert_eq!(saved.compare(&rotated, now), Comparison::Same);
    }

    #[test]
    fn distinguishes_sets_of_one_name_by_their_signing_keys() {
        let saved = with_key(BIRTH);
        let same = saved.compare(&with_key(BIRTH), at(BIRTH + DAY));
        assert_eq!(same, Comparison::Same);
        assert!(is_different(&saved, &with_key(BIRTH + 1), at(BIRTH + DAY)));
        // The saved one is old enough to have been replaced, but a key as young as this one has replaced none.
        let initiated_later = with_key(BIRTH + 200 * DAY);
        assert!(is_different(
            &saved,
            &initiated_later,
            at(BIRTH + 201 * DAY)
        ));
    }

    #[test]
    fn accepts_a_key_that_may_have_replaced_the_saved_one() {
        let saved = with_key(BIRTH);
        let second = with_key(BIRTH + 2);
        let compared = saved.compare(&second, at(BIRTH + 90 * DAY));
        assert_eq!(compared, Comparison::Unknown);
    }

    #[test]
    fn accepts_what_one_side_does_not_know() {
        let now = at(BIRTH);
        let compared = with_id("a").compare(&with_key(BIRTH), now);
        assert_eq!(compared, Comparison::Unknown);
        let compared = DeploymentId::default().compare(&with_id("a"), now);
        assert_eq!(compared, Comparison::Unknown);
        assert_eq!(SigningKey::from_id(0), None);
    }

    #[test]
    fn keeps_what_only_the_saved_identity_knows() {
        let completed = with_key(BIRTH).completed_by(&with_id("a"));
        assert_eq!(completed.id, with_id("a").id);
        assert_eq!(completed.key, with_key(BIRTH).key);
    }
}
