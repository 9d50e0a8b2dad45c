//! Tells the linker that N-API's symbols come from the host.

fn main() {
    napi_build::setup();
}
