//! `jq -c FILTER`: applies a filter to each JSON value on stdin, and prints the results, one in a line.

use std::env;
use std::error::Error;
use std::io::{self, Write};

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::{Val, read, write};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [option, filter] = &arguments[..] else {
        return Err("usage: jq -c FILTER".into());
    };
    if option != "-c" {
        return Err(format!("only -c is supported, not {option}").into());
    }
    let definitions = jaq_core::defs()
        .chain(jaq_std::defs())
        .chain(jaq_json::defs());
    let functions = jaq_core::funs()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs());
    let arena = Arena::default();
    let file = File {
        code: filter.as_str(),
        path: (),
    };
    let modules = Loader::new(definitions)
        .load(&arena, file)
        .map_err(|errors| format!("{filter}: {errors:?}"))?;
    let filter = Compiler::default()
        .with_funs(functions)
        .compile(modules)
        .map_err(|errors| format!("{filter}: {errors:?}"))?;
    let mut stdout = io::stdout();
    for value in read::read_many(io::stdin().lock()) {
        let context = Ctx::<data::JustLut<Val>>::new(&filter.lut, Vars::new([]));
        for result in filter.id.run((context, value?)).map(unwrap_valr) {
            let result = result.map_err(|error| error.to_string())?;
            write::write(&mut stdout, &write::Pp::default(), 0, &result)?;
            writeln!(stdout)?;
        }
    }
    Ok(())
}
