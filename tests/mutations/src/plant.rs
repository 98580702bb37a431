//! Plants faults in the syntax tree of a file. Each is a branch on `crate::mutant::on(ID)`, so one
//! build contains all.

use std::collections::{BTreeSet, HashMap};

use proc_macro2::Span;
use quote::ToTokens;
use syn::{
    BinOp, Block, Expr, ExprBinary, File, ImplItemFn, ItemFn, ItemMod, Lit, Pat, ReturnType, Signature, Stmt,
    Type, UnOp, parse_quote,
    spanned::Spanned,
    visit_mut::{self, VisitMut},
};

/// One planted fault.
#[derive(Debug, Clone)]
pub struct Mutant {
    pub id: u32,
    pub line: usize,
    pub file: String,
    /// The file, the function, and the replacement. It has no line, because lines change more
    /// often.
    pub name: String,
}

impl Mutant {
    pub fn line(&self) -> String {
        format!("{}\t{}\t{}", self.id, self.line, self.name)
    }

    pub fn parse(line: &str) -> Self {
        let fields: Vec<_> = line.splitn(3, '\t').collect();
        Self {
            id: fields[0].parse().expect("an id"),
            line: fields[1].parse().expect("a line"),
            file: fields[2].split(" | ").next().unwrap_or_default().to_owned(),
            name: fields[2].to_owned(),
        }
    }
}

pub struct Planter<'a> {
    file: String,
    /// The faults of all files so far. An id is an index into it.
    mutants: &'a mut Vec<Mutant>,
    /// Names of faults that do not compile.
    unviable: &'a BTreeSet<String>,
    /// Functions that must stay `const`, in which nothing is planted.
    constant: &'a BTreeSet<String>,
    /// The names in this file so far, with how often each occurs.
    names: HashMap<String, usize>,
    of: String,
    function: String,
}

impl<'a> Planter<'a> {
    pub fn new(
        file: &str,
        mutants: &'a mut Vec<Mutant>,
        unviable: &'a BTreeSet<String>,
        constant: &'a BTreeSet<String>,
    ) -> Self {
        let (file, of, function) = (file.to_owned(), String::new(), String::new());
        Self { file, mutants, unviable, constant, names: HashMap::new(), of, function }
    }

    pub fn plant(mut self, file: &mut File) {
        self.visit_file_mut(file);
    }

    /// Adds a fault. Returns its condition, unless the fault does not compile.
    fn fault(&mut self, span: Span, change: String) -> Option<Expr> {
        let id = u32::try_from(self.mutants.len()).expect("not so many faults");
        let change = change.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut name = format!("{} | {}{} | {change}", self.file, self.of, self.function);
        let same = self.names.entry(name.clone()).or_default();
        *same += 1;
        if *same > 1 {
            name += &format!(" | no. {same}");
        }
        let viable = !self.unviable.contains(&name);
        self.mutants.push(Mutant { id, line: span.start().line, file: self.file.clone(), name });
        viable.then(|| parse_quote!(crate::mutant::on(#id)))
    }

    /// Wraps an expression, which may already contain faults, in branches with alternatives.
    fn branch(&mut self, expr: &mut Expr, before: &str, span: Span, alternatives: Vec<Expr>) {
        let mut whole = expr.clone();
        for alternative in alternatives {
            let change = format!("{} -> {}", before, text(&alternative));
            if let Some(on) = self.fault(span, change) {
                whole = parse_quote!((if #on { #alternative } else { #whole }));
            }
        }
        *expr = whole;
    }

    fn function(&mut self, signature: &mut Signature, body: &mut Block) {
        let name = signature.ident.to_string();
        let path = format!("{}{name}", self.of);
        if self.constant.contains(&path) || body.stmts.is_empty() {
            return;
        }
        signature.constness = None;
        let outer = std::mem::replace(&mut self.function, name);
        let values: Vec<Expr> = match &signature.output {
            ReturnType::Default => vec![parse_quote!(())],
            ReturnType::Type(_, of) => defaults(of, signature),
        };
        let span = signature.ident.span();
        visit_mut::visit_block_mut(self, body);
        for value in values {
            if let Some(on) = self.fault(span, format!("body -> {}", text(&value))) {
                body.stmts.insert(0, parse_quote!(if #on { return #value; }));
            }
        }
        self.function = outer;
    }
}

/// Constant values that a function could return.
fn defaults(of: &Type, signature: &Signature) -> Vec<Expr> {
    let of = of.to_token_stream().to_string().replace(' ', "");
    let takes_self = signature.receiver().is_some_and(|receiver| receiver.reference.is_none());
    match of.as_str() {
        "bool" => vec![parse_quote!(true), parse_quote!(false)],
        "u8" | "u16" | "u32" | "u64" | "i64" | "usize" | "i128" => vec![parse_quote!(0), parse_quote!(1)],
        "Duration" => vec![parse_quote!(Duration::ZERO)],
        "&str" => vec![parse_quote!("")],
        "Self" if takes_self => vec![parse_quote!(self)],
        of if of.starts_with("Option<") => vec![parse_quote!(None)],
        of if of.starts_with("Result<()") => vec![parse_quote!(Ok(()))],
        of if of.starts_with("Vec<") => vec![parse_quote!(Vec::new())],
        _ => Vec::new(),
    }
}

fn text(tokens: &impl ToTokens) -> String {
    let text = tokens.to_token_stream().to_string();
    // One short line.
    text.chars().take(120).collect()
}

fn holds_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => holds_let(&binary.left) || holds_let(&binary.right),
        Expr::Paren(inner) => holds_let(&inner.expr),
        _ => false,
    }
}

/// Whether the expression is a condition that no other fault inverts.
fn is_plain(expr: &Expr) -> bool {
    matches!(expr, Expr::Call(_) | Expr::MethodCall(_) | Expr::Path(_) | Expr::Field(_) | Expr::Macro(_))
}

fn other_operators(op: &BinOp) -> Vec<BinOp> {
    match op {
        BinOp::Lt(_) => vec![parse_quote!(<=), parse_quote!(>=)],
        BinOp::Le(_) => vec![parse_quote!(<), parse_quote!(>)],
        BinOp::Gt(_) => vec![parse_quote!(>=), parse_quote!(<=)],
        BinOp::Ge(_) => vec![parse_quote!(>), parse_quote!(<)],
        BinOp::Eq(_) => vec![parse_quote!(!=)],
        BinOp::Ne(_) => vec![parse_quote!(==)],
        BinOp::And(_) => vec![parse_quote!(||)],
        BinOp::Or(_) => vec![parse_quote!(&&)],
        BinOp::Add(_) => vec![parse_quote!(-)],
        BinOp::Sub(_) => vec![parse_quote!(+)],
        BinOp::Mul(_) => vec![parse_quote!(/)],
        BinOp::Div(_) | BinOp::Rem(_) => vec![parse_quote!(*)],
        BinOp::BitAnd(_) => vec![parse_quote!(|)],
        BinOp::BitOr(_) | BinOp::BitXor(_) => vec![parse_quote!(&)],
        BinOp::Shl(_) => vec![parse_quote!(>>)],
        BinOp::Shr(_) => vec![parse_quote!(<<)],
        BinOp::AddAssign(_) => vec![parse_quote!(-=)],
        BinOp::SubAssign(_) => vec![parse_quote!(+=)],
        BinOp::BitOrAssign(_) | BinOp::BitXorAssign(_) => vec![parse_quote!(&=)],
        BinOp::BitAndAssign(_) => vec![parse_quote!(|=)],
        _ => Vec::new(),
    }
}

/// Another method with the same arguments. An empty name removes the call.
fn other_method(name: &str) -> Option<&'static str> {
    Some(match name {
        "min" => "max",
        "max" => "min",
        "is_some" => "is_none",
        "is_none" => "is_some",
        "is_ok" => "is_err",
        "is_err" => "is_ok",
        "is_some_and" => "is_none_or",
        "is_none_or" => "is_some_and",
        "any" => "all",
        "all" => "any",
        "saturating_add" => "saturating_sub",
        "saturating_sub" => "saturating_add",
        "filter" | "or" | "or_else" | "take" | "skip" | "chain" | "rev" => "",
        _ => return None,
    })
}

impl VisitMut for Planter<'_> {
    fn visit_item_mod_mut(&mut self, module: &mut ItemMod) {
        let is_test = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg") && text(&attribute.meta).contains("test")
        };
        if !module.attrs.iter().any(is_test) {
            visit_mut::visit_item_mod_mut(self, module);
        }
    }

    fn visit_item_impl_mut(&mut self, block: &mut syn::ItemImpl) {
        if let Type::Path(of) = &*block.self_ty
            && let Some(last) = of.path.segments.last()
        {
            self.of = format!("{}::", last.ident);
        }
        visit_mut::visit_item_impl_mut(self, block);
        self.of.clear();
    }

    fn visit_item_fn_mut(&mut self, function: &mut ItemFn) {
        self.function(&mut function.sig, &mut function.block);
    }

    fn visit_impl_item_fn_mut(&mut self, function: &mut ImplItemFn) {
        self.function(&mut function.sig, &mut function.block);
    }

    // The compiler evaluates expressions in types, constants and statics.
    fn visit_type_mut(&mut self, _: &mut Type) {}
    fn visit_item_const_mut(&mut self, _: &mut syn::ItemConst) {}
    fn visit_item_static_mut(&mut self, _: &mut syn::ItemStatic) {}
    fn visit_impl_item_const_mut(&mut self, _: &mut syn::ImplItemConst) {}
    fn visit_generic_argument_mut(&mut self, _: &mut syn::GenericArgument) {}
    fn visit_pat_mut(&mut self, _: &mut Pat) {}
    fn visit_attribute_mut(&mut self, _: &mut syn::Attribute) {}

    fn visit_stmt_mut(&mut self, statement: &mut Stmt) {
        let (before, span) = (text(statement), statement.span());
        visit_mut::visit_stmt_mut(self, statement);
        if let Stmt::Expr(expr, Some(_)) = statement
            && matches!(
                expr,
                Expr::MethodCall(_) | Expr::Call(_) | Expr::Assign(_) | Expr::Try(_) | Expr::Await(_)
            )
            && let Some(on) = self.fault(span, format!("{before} -> nothing"))
        {
            *statement = parse_quote!(if !#on { #statement });
        }
    }

    fn visit_expr_match_mut(&mut self, expr: &mut syn::ExprMatch) {
        let has_rest = expr.arms.iter().any(|arm| matches!(arm.pat, Pat::Wild(_)) && arm.guard.is_none());
        let patterns: Vec<_> = expr.arms.iter().map(|arm| (text(&arm.pat), arm.span())).collect();
        let guards: Vec<_> = expr.arms.iter().map(|arm| arm.guard.as_ref().map(|(_, of)| text(of))).collect();
        visit_mut::visit_expr_match_mut(self, expr);
        for ((arm, (pattern, span)), guard) in expr.arms.iter_mut().zip(patterns).zip(guards) {
            if let (Some((_, condition)), Some(before)) = (&mut arm.guard, guard) {
                self.branch(condition, &before, span, vec![parse_quote!(true), parse_quote!(false)]);
            } else if has_rest
                && !matches!(arm.pat, Pat::Wild(_))
                && let Some(on) = self.fault(span, format!("arm {pattern} -> nothing"))
            {
                arm.guard = Some((parse_quote!(if), parse_quote!(!#on)));
            }
        }
    }

    fn visit_expr_if_mut(&mut self, expr: &mut syn::ExprIf) {
        let (before, span) = (text(&expr.cond), expr.cond.span());
        let is_plain = is_plain(&expr.cond);
        visit_mut::visit_expr_if_mut(self, expr);
        if is_plain {
            let condition = expr.cond.clone();
            self.turned(&mut expr.cond, &condition, &before, span);
        }
    }

    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        let (before, span) = (text(expr), expr.span());
        match expr {
            Expr::Const(_) => return,
            Expr::Repeat(repeat) => return self.visit_expr_mut(&mut repeat.expr),
            Expr::Lit(literal) => {
                if let Lit::Int(int) = &literal.lit
                    && let Ok(value) = int.base10_parse::<u128>()
                {
                    let more: Expr = format!("{}{}", value + 1, int.suffix())
                        .parse::<proc_macro2::TokenStream>()
                        .map(|tokens| parse_quote!(#tokens))
                        .expect("a number");
                    self.branch(expr, &before, span, vec![more]);
                }
                return;
            }
            _ => {}
        }
        let turnable: Vec<(bool, String, Span)> = match expr {
            Expr::Binary(ExprBinary { left, op: BinOp::And(_) | BinOp::Or(_), right, .. }) => {
                [left, right].map(|side| (is_plain(side), text(side), side.span())).into()
            }
            _ => Vec::new(),
        };
        visit_mut::visit_expr_mut(self, expr);
        match expr {
            Expr::Binary(binary) => {
                for (side, (is_plain, before, span)) in
                    [&mut binary.left, &mut binary.right].into_iter().zip(turnable)
                {
                    if is_plain {
                        let condition = side.clone();
                        self.turned(side, &condition, &before, span);
                    }
                }
                if !(matches!(binary.op, BinOp::And(_) | BinOp::Or(_))
                    && holds_let(&Expr::Binary(binary.clone())))
                {
                    let others = other_operators(&binary.op).into_iter().map(|op| {
                        // In parentheses, because a mix of `&&` and `||` would parse differently.
                        let (left, right) = (&binary.left, &binary.right);
                        if matches!(
                            op,
                            BinOp::AddAssign(_)
                                | BinOp::SubAssign(_)
                                | BinOp::BitOrAssign(_)
                                | BinOp::BitAndAssign(_)
                        ) {
                            parse_quote!({ #left #op #right; })
                        } else {
                            parse_quote!((#left) #op (#right))
                        }
                    });
                    let mut others: Vec<(Expr, String)> = others
                        .zip(other_operators(&binary.op))
                        .map(|(expr, op)| (expr, format!("{before} -> {}", text(&op))))
                        .collect();
                    if matches!(binary.op, BinOp::Add(_) | BinOp::Sub(_)) {
                        // Timestamps support only addition.
                        others.push(((*binary.left).clone(), format!("{before} -> left side")));
                    }
                    let mut whole = expr.clone();
                    for (other, change) in others {
                        if let Some(on) = self.fault(span, change) {
                            whole = parse_quote!((if #on { #other } else { #whole }));
                        }
                    }
                    *expr = whole;
                }
            }
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) => {
                let inner = unary.expr.clone();
                if let Some(on) = self.fault(span, format!("{before} -> without !")) {
                    *expr = parse_quote!((if #on { #inner } else { #expr }));
                }
            }
            Expr::MethodCall(call) => {
                let name = call.method.to_string();
                let receiver = &call.receiver;
                let mut others: Vec<(Expr, String)> = Vec::new();
                match (&*name, other_method(&name)) {
                    ("then" | "then_some", _) => {
                        let mut other = call.clone();
                        other.receiver = parse_quote!((!#receiver));
                        others.push((Expr::MethodCall(other), "!".into()));
                    }
                    (_, Some("")) => others.push((parse_quote!(#receiver), "left out".into())),
                    (_, Some(method)) => {
                        let mut other = call.clone();
                        other.method = syn::Ident::new(method, call.method.span());
                        others.push((Expr::MethodCall(other), method.into()));
                        if matches!(method, "min" | "max") {
                            others.push((parse_quote!(#receiver), "left out".into()));
                        }
                    }
                    _ => {}
                }
                for (other, how) in others {
                    if let Some(on) = self.fault(span, format!("{before} -> {name}: {how}")) {
                        *expr = parse_quote!((if #on { #other } else { #expr }));
                    }
                }
            }
            Expr::Macro(of) if of.mac.path.is_ident("matches") => {
                if let Some(on) = self.fault(span, format!("{before} -> not")) {
                    *expr = parse_quote!((if #on { !#expr } else { #expr }));
                }
            }
            _ => {}
        }
    }
}

impl Planter<'_> {
    /// The inverted condition.
    fn turned(&mut self, place: &mut Expr, condition: &Expr, before: &str, span: Span) {
        if let Some(on) = self.fault(span, format!("{before} -> not")) {
            // Not `!`, because its type could not be inferred everywhere.
            *place = parse_quote!((if #on { if #condition { false } else { true } } else { #condition }));
        }
    }
}
