//! Tables as plain text.

/// How a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Lines of cells in columns, the first line being the head. Columns without a word of how they stand begin at the left.
pub(crate) fn table(lines: &[Vec<String>], align: &[Align]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut table = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match align.get(column) {
            Some(Align::Right) => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        table.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_in_characters() {
        let lines = [vec!["who".into(), "n".into(), "x".into()], vec!["Öä".into(), "100".into(), String::new()]];
        assert_eq!(table(&lines, &[Align::Left, Align::Right]), "who    n  x\nÖä   100\n");
    }
}
