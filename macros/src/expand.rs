//! The expansion of both attributes, on tokens that need no compiler.
//!
//! Knows: syn, quote. Does not know: proc_macro.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{Error, ItemFn, Result};

/// Which attribute it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Main,
    Test,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Main => "#[millstream::main]",
            Self::Test => "#[millstream::test]",
        }
    }
}

/// Turns an `async fn` into one that blocks on it; with an error that says what to write instead for anything else.
pub(crate) fn expand(kind: Kind, arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let name = kind.name();
    let not_a_function =
        |error: Error| Error::new(error.span(), format!("{name} stands before an `async fn`: {error}"));
    let mut function: ItemFn = syn::parse2(item).map_err(not_a_function)?;
    let mut errors = Errors::default();
    if !arguments.is_empty() {
        errors.add(
            &arguments,
            format!(
                "{name} takes no arguments: for other than the defaults, use `millstream::Runtime::builder()`"
            ),
        );
    }
    let signature = &mut function.sig;
    if signature.asyncness.take().is_none() {
        errors.add(signature.fn_token, format!("{name} needs an `async fn`"));
    }
    if !signature.inputs.is_empty() {
        errors.add(
            &signature.inputs,
            format!("a function with {name} takes no parameters: nobody would pass them"),
        );
    }
    if !signature.generics.params.is_empty() {
        errors.add(
            &signature.generics,
            format!("a function with {name} cannot be generic: nobody would choose"),
        );
    }
    if let Some(constness) = &signature.constness {
        errors.add(constness, format!("a function with {name} cannot be `const`: it runs tasks"));
    }
    if kind == Kind::Main && signature.ident != "main" {
        errors
            .add(&signature.ident, format!("{name} stands before `main`, and this is `{}`", signature.ident));
    }
    if kind == Kind::Test
        && let Some(twice) = function.attrs.iter().find(|attribute| attribute.path().is_ident("test"))
    {
        errors.add(twice, format!("{name} makes this a test: a second `#[test]` would run it twice"));
    }
    errors.into_result()?;

    let test = (kind == Kind::Test).then(|| quote!(#[::core::prelude::v1::test]));
    let (attributes, visibility, signature, body) =
        (function.attrs, function.vis, function.sig, function.block);
    Ok(quote! {
        #test
        #(#attributes)*
        #visibility #signature {
            let runtime = match ::millstream::Runtime::new() {
                ::core::result::Result::Ok(runtime) => runtime,
                ::core::result::Result::Err(error) => ::core::panic!("cannot start a millstream runtime: {error}"),
            };
            runtime.block_on(async move #body)
        }
    })
}

/// Everything that is wrong, told at once.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn add(&mut self, at: impl ToTokens, text: String) {
        let tokens = at.into_token_stream();
        let error = if tokens.is_empty() {
            Error::new(Span::call_site(), text)
        } else {
            Error::new(tokens.span(), text)
        };
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            none => *none = Some(error),
        }
    }

    fn into_result(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(kind: Kind, arguments: &str, item: &str) -> Vec<String> {
        match expand(kind, arguments.parse().unwrap(), item.parse().unwrap()) {
            Ok(tokens) => panic!("expanded to {tokens}"),
            Err(errors) => errors.into_iter().map(|error| error.to_string()).collect(),
        }
    }

    fn expanded(kind: Kind, item: &str) -> ItemFn {
        syn::parse2(expand(kind, TokenStream::new(), item.parse().unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn main_becomes_a_plain_function_with_the_same_type() {
        let main = expanded(Kind::Main, "async fn main() -> io::Result<()> { work().await }");
        assert!(main.sig.asyncness.is_none());
        assert_eq!(main.sig.output.to_token_stream().to_string(), "-> io :: Result < () >");
        assert!(main.attrs.is_empty());
        assert!(main.block.to_token_stream().to_string().contains("work () . await"));
    }

    #[test]
    fn a_test_is_a_test_and_keeps_its_other_attributes() {
        let test = expanded(Kind::Test, "#[ignore] #[should_panic] async fn t() {}");
        let attributes: Vec<_> = test.attrs.iter().map(|a| a.path().to_token_stream().to_string()).collect();
        assert_eq!(attributes, [":: core :: prelude :: v1 :: test", "ignore", "should_panic"]);
    }

    #[test]
    fn wrong_input_is_told_what_to_write_instead() {
        assert_eq!(
            errors(Kind::Main, "threads = 4", "async fn main() {}"),
            [
                "#[millstream::main] takes no arguments: for other than the defaults, use `millstream::Runtime::builder()`"
            ]
        );
        assert_eq!(errors(Kind::Main, "", "fn main() {}"), ["#[millstream::main] needs an `async fn`"]);
        assert_eq!(
            errors(Kind::Main, "", "async fn start() {}"),
            ["#[millstream::main] stands before `main`, and this is `start`"]
        );
        assert_eq!(
            errors(Kind::Test, "", "async fn t(n: u8) {}"),
            ["a function with #[millstream::test] takes no parameters: nobody would pass them"]
        );
        assert_eq!(
            errors(Kind::Test, "", "async fn t<T>() {}"),
            ["a function with #[millstream::test] cannot be generic: nobody would choose"]
        );
        assert_eq!(
            errors(Kind::Test, "", "#[test] async fn t() {}"),
            ["#[millstream::test] makes this a test: a second `#[test]` would run it twice"]
        );
        assert!(
            errors(Kind::Main, "", "struct S;")[0]
                .starts_with("#[millstream::main] stands before an `async fn`")
        );
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        assert_eq!(errors(Kind::Test, "x", "const fn t<T>(n: T) {}").len(), 5);
    }
}
