//! What the service sends and takes.

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Empty {}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct User {
    #[prost(string, tag = "1")]
    pub name: String,
}
