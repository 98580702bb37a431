//! The services, in Rust instead of a `.proto` file, so that the example builds without `protoc`.

use tonic_build::manual::{Builder, Method, MethodBuilder, Service};

fn method(name: &str, route: &str, input: &str, output: &str) -> MethodBuilder {
    Method::builder()
        .name(name)
        .route_name(route)
        .input_type(format!("crate::messages::{input}"))
        .output_type(format!("crate::messages::{output}"))
        .codec_path("tonic_prost::ProstCodec")
}

fn main() {
    let logins = Service::builder()
        .name("Logins")
        .package("example")
        .method(method("log_in", "LogIn", "User", "Empty").build())
        .build();
    let account = Service::builder()
        .name("Account")
        .package("example")
        .method(method("who_am_i", "WhoAmI", "Empty", "User").build())
        .method(method("watch", "Watch", "Empty", "Tick").server_streaming().build())
        .method(method("log_out", "LogOut", "Empty", "Empty").build())
        .build();
    Builder::new().compile(&[logins, account]);
}
