//! Operation types of change events: the one list for checking `--op` and for counting events.
//! Source: <https://www.mongodb.com/docs/manual/reference/change-events/>.

/// An operation type that MongoDB documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OperationType {
    /// Value of `operationType` in events.
    pub(crate) name: &'static str,
    /// Whether the server sends it only with `showExpandedEvents`.
    pub(crate) is_expanded: bool,
}

impl OperationType {
    /// Every documented type, in the order of the documentation.
    pub(crate) const ALL: [Self; 19] = [
        Self::plain("insert"),
        Self::plain("update"),
        Self::plain("replace"),
        Self::plain("delete"),
        Self::plain("drop"),
        Self::plain("rename"),
        Self::plain("dropDatabase"),
        Self::plain("invalidate"),
        Self::expanded("create"),
        Self::expanded("createIndexes"),
        Self::expanded("startIndexBuild"),
        Self::expanded("abortIndexBuild"),
        Self::expanded("dropIndexes"),
        Self::expanded("modify"),
        Self::expanded("shardCollection"),
        Self::expanded("reshardCollection"),
        Self::expanded("refineCollectionShardKey"),
        Self::expanded("reshardBlockingWrites"),
        Self::expanded("endOfTransaction"),
    ];

    /// Returns the index in [`Self::ALL`] of the type `name`.
    pub(crate) fn index_of(name: &str) -> Option<usize> {
        Self::ALL.iter().position(|known| known.name == name)
    }

    const fn plain(name: &'static str) -> Self {
        Self {
            name,
            is_expanded: false,
        }
    }

    const fn expanded(name: &'static str) -> Self {
        Self {
            name,
            is_expanded: true,
        }
    }
}
