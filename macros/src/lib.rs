//! Macros of `millstream`: `#[millstream::main]`, `#[millstream::test]`, and what `race!` and `select!` split their arms with.
//!
//! Knows: the syntax of a function, and the names `millstream::Runtime::new` and `block_on`. Does not know: what they do.

mod expand;
mod race;
mod select;

use proc_macro::TokenStream;

use expand::{Kind, expand};

/// Runs an async `main` on a new runtime.
///
/// The function takes no arguments, and returns what any `main` may. What its tasks have not finished by then is
/// dropped with the runtime, as in a program that ends.
///
/// # Panics
///
/// When the runtime cannot be built, saying what forbids or lacks io_uring. Use `millstream::Runtime::builder` to
/// handle that, or to choose sizes.
///
/// # Examples
///
/// ```ignore
/// #[millstream::main]
/// async fn main() -> std::io::Result<()> {
///     let task = millstream::spawn(async { 1 + 1 });
///     assert_eq!(task.await?, 2);
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(Kind::Main, arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Runs an async test on a new runtime.
///
/// The function takes no arguments, and returns what any test may. Other attributes (`#[ignore]`, `#[should_panic]`)
/// keep their meaning.
///
/// # Examples
///
/// ```ignore
/// #[millstream::test]
/// async fn a_task_gives_its_output() {
///     assert_eq!(millstream::spawn(async { 2 }).await.unwrap(), 2);
/// }
/// ```
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(Kind::Test, arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// What `race!`, `join!` and `chain!` of the library expand to.
#[doc(hidden)]
#[proc_macro]
pub fn __combine(input: TokenStream) -> TokenStream {
    race::expand(input.into()).into()
}

/// What `select!` of the library expands to.
#[doc(hidden)]
#[proc_macro]
pub fn __select(input: TokenStream) -> TokenStream {
    select::expand(input.into()).into()
}
