//! `race!(a || b)`, `join!(a && b)`, `chain!(a >> b)`: one expression of operators, split into the arms of a combinator.
//!
//! The compiler's own grammar says where an arm ends, so arms may be any expressions: method calls, closures in
//! arguments, blocks, `if`.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{BinOp, Expr, ExprBinary};

/// The largest tuple that is a set of arms.
const MOST: usize = 16;

/// What the declarative macro in the library passes on: `name [path to the function] arms`.
struct Call {
    name: String,
    function: TokenStream,
    arms: TokenStream,
}

impl Parse for Call {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name = input.parse::<syn::Ident>()?.to_string();
        let function = match input.parse()? {
            TokenTree::Group(group) => group.stream(),
            other => {
                return Err(syn::Error::new(other.span(), "expected the path of a function in brackets"));
            }
        };
        Ok(Self { name, function, arms: input.parse()? })
    }
}

/// The operator that separates the arms of a macro.
struct Operator {
    sign: &'static str,
    is: fn(&BinOp) -> bool,
}

impl Operator {
    fn of(name: &str) -> Self {
        match name {
            "join" => Self { sign: "&&", is: |op| matches!(op, BinOp::And(_)) },
            "chain" => Self { sign: ">>", is: |op| matches!(op, BinOp::Shr(_)) },
            _ => Self { sign: "||", is: |op| matches!(op, BinOp::Or(_)) },
        }
    }
}

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    syn::parse2(input).and_then(|call| combine(&call)).unwrap_or_else(|error| error.into_compile_error())
}

fn combine(call: &Call) -> syn::Result<TokenStream> {
    let Call { name, function, arms } = call;
    let operator = Operator::of(name);
    let sign = operator.sign;
    if arms.is_empty() {
        return Err(syn::Error::new(Span::call_site(), format!("nothing to combine: `{name}!(a {sign} b)`")));
    }
    let whole = |input: ParseStream<'_>| {
        let arms: Expr = input.parse()?;
        match input.peek(syn::Token![,]) {
            true => Err(input.error(format!("arms are separated by `{sign}`, as in `{name}!(a {sign} b)`"))),
            false => Ok(arms),
        }
    };
    let whole = whole.parse2(arms.clone())?;
    let mut split = Vec::new();
    flatten(whole, &operator, &mut split);
    if let [only] = &split[..] {
        let text = format!(
            "one arm is nothing to combine: separate two or more with `{sign}`, as in `{name}!(a {sign} b)`"
        );
        return Err(syn::Error::new(only.span(), text));
    }
    if let Some(surplus) = split.get(MOST) {
        let text = format!("`{name}!` takes at most {MOST} arms: nest another, or give the function a `Vec`");
        return Err(syn::Error::new(surplus.span(), text));
    }
    for arm in &split {
        if let Expr::Paren(paren) = arm
            && let Expr::Binary(ExprBinary { op, .. }) = &*paren.expr
            && (operator.is)(op)
            && sign != ">>"
        {
            let text = format!(
                "`{sign}` in parentheses is the operator on `bool`: to nest, write `{name}!(a {sign} b)` here"
            );
            return Err(syn::Error::new(arm.span(), text));
        }
    }
    // Each arm keeps its own place in the source, so that an error about an arm points at it.
    let arms = split.iter().map(|arm| quote_spanned!(arm.span()=> #arm));
    Ok(quote!(#function((#(#arms),*))))
}

/// The operands of a left-associative run of `operator`, in order.
fn flatten(expr: Expr, operator: &Operator, arms: &mut Vec<Expr>) {
    match expr {
        Expr::Binary(ExprBinary { left, op, right, .. }) if (operator.is)(&op) => {
            flatten(*left, operator, arms);
            arms.push(*right);
        }
        other => arms.push(other),
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn expanded(name: &str, arms: TokenStream) -> String {
        let name = syn::Ident::new(name, Span::call_site());
        expand(quote!(#name [f] #arms)).to_string()
    }

    #[test]
    fn arms_are_split_where_the_grammar_says() {
        let cases = [
            ("race", quote!(a || b), quote!(f((a, b)))),
            ("race", quote!(a.m(|| x || y) || b | c || d), quote!(f((a.m(|| x || y), b | c, d)))),
            ("race", quote!(&mut a || { b || c } || p.as_mut()), quote!(f((&mut a, { b || c }, p.as_mut())))),
            ("race", quote!(if x || y { a } else { b } || c), quote!(f((if x || y { a } else { b }, c)))),
            ("join", quote!(a && b && c), quote!(f((a, b, c)))),
            ("chain", quote!(a >> b >> (c >> d)), quote!(f((a, b, (c >> d))))),
        ];
        for (name, arms, expected) in cases {
            let expected: Expr = syn::parse2(expected).expect("an expression");
            assert_eq!(expanded(name, arms), quote!(#expected).to_string());
        }
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        let many: Vec<_> = (0..17).map(|_| quote!(a)).collect();
        let cases = [
            ("race", quote!(), "nothing to combine"),
            ("race", quote!(a), "one arm is nothing to combine: separate two or more with `||`"),
            ("race", quote!(a && b), "one arm"),
            ("join", quote!(a || b), "separate two or more with `&&`"),
            ("race", quote!((a || b) || c), "to nest, write `race!(a || b)` here"),
            ("race", quote!(#(#many)||*), "at most 16 arms"),
            ("race", quote!(a, b), "arms are separated by `||`, as in `race!(a || b)`"),
            ("join", quote!(a::<T, U>(x, y), b), "arms are separated by `&&`"),
            ("race", quote!(a ||), "compile_error"),
        ];
        for (name, arms, expected) in cases {
            let text = expanded(name, arms);
            assert!(text.contains("compile_error") && text.contains(expected), "{text}");
        }
    }
}
