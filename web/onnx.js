// Models of ONNX, as bytes of protobuf: what `web/beside.js` needs and no more.

const varint = (number) => {
  const bytes = [];
  for (let rest = BigInt.asUintN(64, BigInt(number)); ; rest >>= 7n) {
    if (rest < 128n) return [...bytes, Number(rest)];
    bytes.push(Number(rest & 127n) | 128);
  }
};
const int = (field, number) => [...varint(field * 8), ...varint(number)];
const bytes = (field, content) => [...varint(field * 8 + 2), ...varint(content.length), ...content];
const text = (field, string) => bytes(field, new TextEncoder().encode(string));
const float = (field, number) => [...varint(field * 8 + 5), ...new Uint8Array(new Float32Array([number]).buffer)];
const raw = (array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

// A string, a whole number, a list of them, or {float}.
function attribute([name, value]) {
  const [type, content] = typeof value === 'string' ? [3, text(4, value)]
    : Array.isArray(value) ? [7, value.flatMap((x) => int(8, x))]
      : typeof value === 'number' ? [2, int(3, value)] : [1, float(2, value.float)];
  return [...text(1, name), ...content, ...int(20, type)];
}

/** An operator of the standard set. */
export function node(op, inputs, outputs, attributes = {}) {
  const named = Object.entries(attributes).flatMap((entry) => bytes(5, attribute(entry)));
  return [...inputs.flatMap((x) => text(1, x)), ...outputs.flatMap((x) => text(2, x)), ...text(4, op), ...named];
}

const FLOAT = 1;
const INT64 = 7;

/** Nodes with constants (a Float32Array is one number, a list is int64), inputs of f32 by name with a shape, names of outputs, and the version of the set. */
export function model(nodes, constants, inputs, outputs, opset) {
  const constant = ([name, value]) => {
    const floats = value instanceof Float32Array;
    const dims = floats ? [] : int(1, value.length);
    return bytes(5, [...dims, ...int(2, floats ? FLOAT : INT64), ...text(8, name), ...bytes(9, raw(floats ? value : BigInt64Array.from(value, BigInt)))]);
  };
  const typed = (name, type, shape) => {
    const dims = shape ? bytes(2, shape.flatMap((dim) => bytes(1, int(1, dim)))) : [];
    return [...text(1, name), ...bytes(2, bytes(1, [...int(1, type), ...dims]))];
  };
  const graph = [
    ...nodes.flatMap((x) => bytes(1, x)),
    ...text(2, 'beside'),
    ...Object.entries(constants).flatMap(constant),
    ...Object.entries(inputs).flatMap(([name, { shape }]) => bytes(11, typed(name, FLOAT, shape))),
    ...outputs.flatMap((name) => bytes(12, typed(name, name === 'indices' ? INT64 : FLOAT))),
  ];
  return new Uint8Array([...int(1, 10), ...bytes(7, graph), ...bytes(8, [...text(1, ''), ...int(2, opset)])]);
}
