//! Values as they are typed in mongosh, and Extended JSON: text → BSON, and BSON → text that mongosh runs.
//! Knows no flags and no files. Evaluates nothing: a value that depends on the moment or on chance, such as `ObjectId()`, is refused.
//!
//! Text that is valid Extended JSON v2 has exactly the meaning that the `bson` crate gives it: the parser reads JSON and the additions of
//! JavaScript into one tree, and the crate converts its numbers and its type wrappers (`{"$oid": ...}`). Therefore 3000000000 is an int64
//! here, and a double in mongosh; the server compares numbers by value. Keys keep their order, and a repeated key is refused.

mod arguments;
mod constructors;
mod dates;
mod literals;
mod numbers;
mod parser;
mod print;
mod scan;
mod syntax_error;
#[cfg(test)]
mod tests;
mod tree;

use bson::Bson;

use self::parser::Parser;

pub use self::print::to_shell;
pub(crate) use self::print::to_shell_line;
pub use self::syntax_error::SyntaxError;

/// Maximum nesting of arrays, objects and calls. As many levels as the server allows in a document.
pub const MAX_DEPTH: usize = 200;

/// Parses one value.
///
/// # Errors
/// [`SyntaxError`] when `text` is neither Extended JSON nor a value in mongosh syntax.
pub fn parse(text: &str) -> Result<Bson, SyntaxError> {
    Parser::new(text).only_value()?.into_bson(text)
}
