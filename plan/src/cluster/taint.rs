//! What keeps pods off a node, and which pods that does not matter to.

/// A taint of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: Effect,
}

impl Taint {
    /// The key by which Kubernetes gives a node up: its pods are removed at once and their volumes detached.
    pub const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

    /// The value of Hostler's own.
    pub const OURS: &str = "hostler";

    /// Whether a plan gave the node up with it.
    pub fn gives_up(&self) -> bool {
        self.key == Self::OUT_OF_SERVICE && self.value == Self::OURS
    }
}

/// What a taint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

impl Effect {
    /// Every effect.
    pub const ALL: [Effect; 3] = [Effect::NoSchedule, Effect::PreferNoSchedule, Effect::NoExecute];

    /// As Kubernetes writes it.
    pub fn word(self) -> &'static str {
        match self {
            Effect::NoSchedule => "NoSchedule",
            Effect::PreferNoSchedule => "PreferNoSchedule",
            Effect::NoExecute => "NoExecute",
        }
    }
}

/// What a pod tolerates. No key tolerates every taint; no value every value; no effect every effect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Toleration {
    pub key: Option<String>,
    pub value: Option<String>,
    pub effect: Option<Effect>,
}
