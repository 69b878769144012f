//! hostler-agent: enrols a node, reports its facts and performs signed plans.
