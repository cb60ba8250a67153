//! `select!`: its arms, and the code that races them.
//!
//! Knows: the grammar, and what the library's half is called. Does not know: how an arm is chosen.
//!
//! ```text
//! select! { biased; a = f(), if g => x, Ok(b) = h() => y, complete => z }
//!
//! enum Outcome<A0, A1> { A0(A0), A1(A1) }
//! let turn = {
//!     let guard0 = g;                                     // every guard, then every operation that is wanted
//!     let mut op0 = When(if guard0 { Some(f()) } else { None });
//!     let mut op1 = Always(h());
//!     // First, arms that may be ready are tried where they are, without a context: most turns end here. Where many are
//!     // ready, one drawn at random mostly is, and no other is looked at.
//!     loop {
//!         let hopeful = match tries.step() {
//!             Try::One(index) => 1 << index,
//!             Try::All => op0.look() | op1.look() << 1,
//!             Try::None => break,
//!         };
//!         while hopeful != 0 { … match index { 0 => op0.attempt(), 1 => op1.attempt() } … }
//!     }
//!     // Then, unless one resolved, all are pinned and raced.
//!     let arms = pin!(Pair { left: op0.begin(), right: op1.begin() });
//!     Turn::new(arms, …, |arms, index, cx| …).await       // `Outcome` of the winner
//! };                                                      // here the operations are gone, and what they borrowed is free
//! match turn { Ok(Outcome::A0(won)) => { let a = won; x } … }
//! ```

use proc_macro2::{Group, Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Expr, Pat, Result, Token};

/// A mask of arms is a word.
const MOST: usize = 64;
/// Up to so many arms, it is not worth while to expect that none is ready.
const FEW: usize = 8;

/// What the declarative macro in the library passes on: `[path to the library's half] select`.
struct Call {
    library: TokenStream,
    select: Select,
}

/// All that stands between the braces.
struct Select {
    biased: bool,
    arms: Vec<Arm>,
    default: Option<Exit>,
    complete: Option<Exit>,
}

/// `pattern = operation, if guard => body`
struct Arm {
    pattern: Pat,
    /// The pattern was `Ok(…)`, and this stood in it: errors that end the arm are left out.
    within_ok: bool,
    operation: Expr,
    guard: Option<Expr>,
    body: Expr,
}

/// `default => body` or `complete => body`
struct Exit {
    name: Ident,
    body: Expr,
}

impl Parse for Call {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let library = input.parse::<Group>()?.stream();
        Ok(Self { library, select: input.parse()? })
    }
}

impl Parse for Select {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut select = Self { biased: false, arms: Vec::new(), default: None, complete: None };
        if word(input, "biased") && input.peek2(Token![;]) {
            input.parse::<Ident>()?;
            input.parse::<Token![;]>()?;
            select.biased = true;
        }
        while !input.is_empty() {
            let exit =
                ["default", "complete"].iter().any(|name| word(input, name)) && input.peek2(Token![=>]);
            if exit {
                select.add_exit(input)?;
            } else {
                select.arms.push(input.parse()?);
            }
        }
        select.check()?;
        Ok(select)
    }
}

/// Whether this word is next. (`default` is not a keyword where it does not stand before an item.)
fn word(input: ParseStream<'_>, word: &str) -> bool {
    input.fork().parse::<Ident>().is_ok_and(|ident| ident == word)
}

impl Select {
    fn add_exit(&mut self, input: ParseStream<'_>) -> Result<()> {
        let name: Ident = input.parse()?;
        input.parse::<Token![=>]>()?;
        let place = if name == "default" { &mut self.default } else { &mut self.complete };
        if place.is_some() {
            return Err(Error::new(name.span(), format!("a second `{name}`: a `select!` has one at most")));
        }
        *place = Some(Exit { name, body: body(input)? });
        Ok(())
    }

    /// What the grammar allows and nobody can mean.
    fn check(&self) -> Result<()> {
        let Some(first) = self.arms.first() else {
            let text = "`select!` without an arm: write at least one, as in `value = receiver.pop() => …`";
            return Err(Error::new(Span::call_site(), text));
        };
        if let Some(surplus) = self.arms.get(MOST) {
            let text = format!("`select!` takes at most {MOST} arms: use `Select` for more");
            return Err(Error::new(surplus.pattern.span(), text));
        }
        let all_may_end = self.arms.iter().all(|arm| arm.within_ok || arm.guard.is_some());
        if all_may_end && self.default.is_none() && self.complete.is_none() {
            let text = "every arm of this `select!` can be disabled, by its guard or by the end of its channel: \
                        say what happens then with `complete => …`";
            return Err(Error::new(first.pattern.span(), text));
        }
        if let Some(complete) = &self.complete
            && !all_may_end
        {
            let text = "this never happens: an arm with neither a guard nor `Ok(…)` is never disabled";
            return Err(Error::new(complete.name.span(), text));
        }
        Ok(())
    }
}

impl Parse for Arm {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let pattern = Pat::parse_multi_with_leading_vert(input)?;
        if !input.peek(Token![=]) || input.peek(Token![=>]) {
            return Err(input.error("expected `=` and an operation: an arm is `pattern = operation => …`"));
        }
        input.parse::<Token![=]>()?;
        let operation = input.parse()?;
        let mut guard = None;
        if input.peek(Token![,]) && input.peek2(Token![if]) {
            input.parse::<Token![,]>()?;
            input.parse::<Token![if]>()?;
            guard = Some(input.parse()?);
        } else if input.peek(Token![if]) {
            return Err(
                input.error("a guard stands behind a comma: `pattern = operation, if condition => …`")
            );
        }
        input.parse::<Token![=>]>()?;
        let body = body(input)?;
        let (pattern, within_ok) = match within_ok(&pattern) {
            Some(inner) => (inner.clone(), true),
            None => (pattern, false),
        };
        Ok(Self { pattern, within_ok, operation, guard, body })
    }
}

/// What follows `=>`, and the comma after it, which may be missing as in a `match`.
fn body(input: ParseStream<'_>) -> Result<Expr> {
    let body = Expr::parse_with_earlier_boundary_rule(input)?;
    let is_block = matches!(
        body,
        Expr::Block(_)
            | Expr::Unsafe(_)
            | Expr::If(_)
            | Expr::Match(_)
            | Expr::Loop(_)
            | Expr::While(_)
            | Expr::ForLoop(_)
    );
    if input.peek(Token![,]) {
        input.parse::<Token![,]>()?;
    } else if !input.is_empty() && !is_block {
        return Err(input.error("expected a comma between two arms"));
    }
    Ok(body)
}

/// The pattern in `Ok(pattern)`.
fn within_ok(pattern: &Pat) -> Option<&Pat> {
    let Pat::TupleStruct(tuple) = pattern else { return None };
    let is_ok = tuple.qself.is_none() && tuple.path.segments.last().is_some_and(|last| last.ident == "Ok");
    match &tuple.elems {
        elements if is_ok && elements.len() == 1 => elements.first(),
        _ => None,
    }
}

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    syn::parse2(input).map_or_else(Error::into_compile_error, |call: Call| call.into_tokens())
}

/// A name of ours, which nothing of the user's can see.
fn ours(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

impl Call {
    fn into_tokens(self) -> TokenStream {
        let Self { library, select } = self;
        let Select { biased, arms, default, complete } = select;
        let count = arms.len();
        let count_of_arms = count as u32;
        let numbers = 0..count;
        // An item is seen by the user's blocks; nobody has a name like this.
        let outcome = ours("__MillstreamSelected");
        let variants: Vec<_> =
            numbers.clone().map(|n| format_ident!("A{n}", span = Span::mixed_site())).collect();
        let guards: Vec<_> = numbers.clone().map(|n| ours(&format!("guard{n}"))).collect();

        let ops: Vec<_> = numbers.clone().map(|n| ours(&format!("op{n}"))).collect();
        let conditions = arms.iter().zip(&guards).filter_map(|(arm, name)| {
            let guard = arm.guard.as_ref()?;
            Some(quote_spanned!(guard.span()=> let #name: bool = #guard;))
        });
        let all_live = arms.iter().zip(&guards).enumerate().map(|(n, (arm, name))| {
            let bit = 1_u64 << n;
            if arm.guard.is_some() { quote!(if #name { #bit } else { 0 }) } else { quote!(#bit) }
        });
        let leaves = arms.iter().zip(&guards).map(|(arm, name)| leaf(&library, arm, name));
        let begun: Vec<_> = ops.iter().map(|op| quote!(#op.begin())).collect();
        let tree = tree(&library, &begun);

        let [all, turn, index, cx] = ["arms", "turn", "index", "cx"].map(ours);
        let [live, hopeful, before, now, rules] = ["live", "hopeful", "before", "now", "rules"].map(ours);
        let [tries, looked] = ["tries", "looked"].map(ours);
        let maps: Vec<_> =
            arms.iter().map(|arm| ours(if arm.within_ok { "unless_ended" } else { "won" })).collect();
        let polls = maps.iter().zip(&variants).enumerate().map(|(n, (map, variant))| {
            let (number, path) = (n as u32, path(n, count));
            quote!(#number => #library::#map(#all #path.poll(#cx), #outcome::#variant),)
        });
        let attempts = maps.iter().zip(&variants).zip(&ops).enumerate().map(|(n, ((map, variant), op))| {
            let number = n as u32;
            quote!(#number => #op.attempt(#looked).map(|polled| #library::#map(polled, #outcome::#variant)),)
        });
        // Of many arms, most have nothing: a branch each that says so, or each look would wait for the one before it.
        let many = count > FEW;
        let looks = ops.iter().enumerate().map(|(n, op)| {
            let bit = 1_u64 << n;
            let found = if many {
                quote!(#hopeful = #library::found(#hopeful, #bit))
            } else {
                quote!(#hopeful |= #bit)
            };
            quote!(if #op.look() { #found; })
        });
        let give_up = default.is_some().then(|| quote! {
            if #looked && #live != 0 && #hopeful == 0 && #library::give_up() {
                #now = ::core::option::Option::Some(::core::result::Result::Err(#library::NoArm::NotReady));
                break;
            }
        });
        let has_default = default.is_some();
        let blocks = arms.iter().zip(&variants).map(|(arm, variant)| {
            let Arm { pattern, body, .. } = arm;
            let won = ours("won");
            quote! {
                ::core::result::Result::Ok(#outcome::#variant(#won)) => {
                    #[allow(clippy::let_unit_value, clippy::let_underscore_untyped, clippy::ignored_unit_patterns)]
                    let #pattern = #won;
                    #body
                }
            }
        });
        let exits = match (default, complete) {
            (None, None) => quote!(::core::result::Result::Err(_) => #library::never(),),
            (Some(Exit { body, .. }), None) | (None, Some(Exit { body, .. })) => {
                quote!(::core::result::Result::Err(_) => { #body })
            }
            (Some(default), Some(complete)) => {
                let (default, complete) = (default.body, complete.body);
                quote! {
                    ::core::result::Result::Err(#library::NoArm::NotReady) => { #default }
                    ::core::result::Result::Err(#library::NoArm::Ended) => { #complete }
                }
            }
        };
        quote! {{
            enum #outcome<#(#variants),*> { #(#variants(#variants)),* }
            let #turn = match {
                #(#conditions)*
                #[allow(unused_imports)]
                use #library::{Arm as _, Place as _};
                #(let mut #ops = #leaves;)*
                let #rules = #library::Rules { biased: #biased, default: #has_default };
                let mut #live: u64 = #(#all_live)|*;
                let mut #before = #library::Before::Unasked;
                let mut #now = ::core::option::Option::None;
                if #(#ops.is_inert())&&* {
                    #before = #library::Before::NoneReady;
                    let mut #tries = #library::Tries::new(#count_of_arms, #rules);
                    'tries: loop {
                        let (mut #hopeful, #looked): (u64, bool) = match #tries.step() {
                            #library::Try::One(#index) => (1 << #index, false),
                            #library::Try::All => {
                                let mut #hopeful = 0;
                                #(#looks)*
                                (#hopeful, true)
                            }
                            #library::Try::None => break,
                        };
                        #hopeful &= #live;
                        #give_up
                        while #hopeful != 0 {
                            let #index = #library::pick(#hopeful, #count_of_arms, #rules);
                            #hopeful &= !(1 << #index);
                            match match #index { #(#attempts)* _ => #library::never() } {
                                ::core::option::Option::Some(#library::Polled::Won(won)) => {
                                    #now = ::core::option::Option::Some(::core::result::Result::Ok(won));
                                    break 'tries;
                                }
                                ::core::option::Option::Some(#library::Polled::Ended) => #live &= !(1 << #index),
                                ::core::option::Option::Some(#library::Polled::Waits) => {}
                                ::core::option::Option::None => {
                                    #before = #library::Before::First(#index);
                                    break 'tries;
                                }
                            }
                        }
                    }
                }
                match #now {
                    ::core::option::Option::Some(selected) => ::core::result::Result::Ok(selected),
                    ::core::option::Option::None => ::core::result::Result::Err((#tree, #live, #rules, #before)),
                }
            } {
                ::core::result::Result::Ok(selected) => selected,
                ::core::result::Result::Err((#all, #live, #rules, #before)) => {
                    let #all = ::core::pin::pin!(#all);
                    #library::Turn::new(#all, #live, #rules, #before, |#all, #index, #cx| match #index {
                        #(#polls)*
                        _ => #library::never(),
                    })
                    .await
                }
            };
            match #turn {
                #(#blocks)*
                #exits
            }
        }}
    }
}

/// For code of ours about this expression: what the compiler says of it points there. A span, and the path of the
/// library with it.
fn there(expression: &Expr, library: &TokenStream) -> (Span, TokenStream) {
    let at = expression.span().resolved_at(Span::mixed_site());
    let moved = library.clone().into_iter().map(|mut token| {
        token.set_span(token.span().located_at(at));
        token
    });
    (at, moved.collect())
}

/// One arm, as it lies in the tree.
fn leaf(library: &TokenStream, arm: &Arm, guard: &Ident) -> TokenStream {
    let operation = &arm.operation;
    let (at, found) = there(operation, library);
    let check = Ident::new(if arm.within_ok { "operation_that_ends" } else { "operation" }, at);
    let checked = quote_spanned!(at=> #found::#check(#found::Given(#operation).arm()));
    if arm.guard.is_some() {
        quote!(#library::When(
            if #guard { ::core::option::Option::Some(#checked) } else { ::core::option::Option::None }
        ))
    } else {
        quote!(#library::Always(#checked))
    }
}

/// The arms as a tree of pairs, as balanced as their number allows.
fn tree(library: &TokenStream, leaves: &[TokenStream]) -> TokenStream {
    if let [leaf] = leaves {
        return leaf.clone();
    }
    let (left, right) = leaves.split_at(leaves.len() / 2);
    let (left, right) = (tree(library, left), tree(library, right));
    quote!(#library::Pair { left: #left, right: #right })
}

/// The way from the root of the tree of `count` arms to arm `n`.
fn path(n: usize, count: usize) -> TokenStream {
    if count == 1 {
        return TokenStream::new();
    }
    let left = count / 2;
    if n < left {
        let rest = path(n, left);
        quote!(.left() #rest)
    } else {
        let rest = path(n - left, count - left);
        quote!(.right() #rest)
    }
}
