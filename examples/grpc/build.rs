//! The service in Rust instead of a `.proto` file, so that the example builds without `protoc`.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let method = |name: &str, route: &str, input: &str, output: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(format!("crate::messages::{input}"))
            .output_type(format!("crate::messages::{output}"))
            .codec_path("tonic_prost::ProstCodec")
            .build()
    };
    let accounts = Service::builder()
        .name("Accounts")
        .package("example")
        .method(method("log_in", "LogIn", "User", "Empty"))
        .method(method("log_out", "LogOut", "Empty", "Empty"))
        .method(method("who_am_i", "WhoAmI", "Empty", "User"))
        .build();
    Builder::new().compile(&[accounts]);
}
