// Hands a JSON file to the visitor.
export function save(name, value) {
  const url = URL.createObjectURL(new Blob([JSON.stringify(value, null, 2) + '\n'], { type: 'application/json' }));
  const anchor = Object.assign(document.createElement('a'), { href: url, download: name });
  anchor.click();
  URL.revokeObjectURL(url);
}

// A row of a table: text, or {text, part, bad} for a bar of a part of 1.
export function row(cells, numbers) {
  const line = document.createElement('tr');
  cells.forEach((cell, column) => {
    const td = line.insertCell();
    if (numbers.includes(column)) td.className = 'n';
    if (typeof cell === 'string') {
      td.textContent = cell;
      return;
    }
    td.classList.toggle('bad', Boolean(cell.bad));
    if (cell.part === undefined) {
      td.textContent = cell.text;
      return;
    }
    td.classList.add('bar');
    const bar = document.createElement('i');
    bar.style.width = `${Math.min(1, cell.part) * 6}rem`;
    const text = document.createElement('span');
    text.textContent = cell.text;
    td.append(bar, text);
  });
  return line;
}
