# Flattens JSON: one line a value, "path<TAB>value", path parts joined by "/".  A value with line ends gives
# one line for each.  Input that is not JSON ends with status 1 and what was read up to there.
function fail() { bad = 1; rest = ""; exit 1 }
function skip() { sub(/^[ \t\r\n]+/, "", rest) }
function take(token) { skip(); if (substr(rest, 1, 1) != token) fail(); rest = substr(rest, 2) }
function code_point(number) {
  if (number < 128) return sprintf("%c", number)
  if (number < 2048) return sprintf("%c%c", 192 + int(number / 64), 128 + number % 64)
  return sprintf("%c%c%c", 224 + int(number / 4096), 128 + int(number / 64) % 64, 128 + number % 64)
}
function hex(digits,    i, number) {
  number = 0
  for (i = 1; i <= 4; i++) number = number * 16 + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
  return number
}
function string(    out, at, mark) {
  take("\"")
  out = ""
  while (1) {
    at = match(rest, /["\\]/)
    if (at == 0) fail()
    out = out substr(rest, 1, at - 1)
    mark = substr(rest, at, 1)
    rest = substr(rest, at + 1)
    if (mark == "\"") return out
    mark = substr(rest, 1, 1)
    rest = substr(rest, 2)
    if (mark == "n") out = out "\n"
    else if (mark == "t") out = out "\t"
    else if (mark == "r" || mark == "b" || mark == "f") out = out
    else if (mark == "u") {
      if (rest !~ /^[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F]/) fail()
      out = out code_point(hex(substr(rest, 1, 4)))
      rest = substr(rest, 5)
    } else out = out mark
  }
}
function show(path, text,    lines, count, i) {
  count = split(text, lines, "\n")
  for (i = 1; i <= count; i++) if (lines[i] != "") print path "\t" lines[i]
}
function value(path, depth,    mark, key, number) {
  if (depth > 32) fail()
  skip()
  mark = substr(rest, 1, 1)
  if (mark == "{") {
    take("{"); skip()
    if (substr(rest, 1, 1) == "}") { take("}"); return }
    while (1) {
      skip(); key = string(); take(":"); value(path "/" key, depth + 1); skip()
      if (substr(rest, 1, 1) == "}") { take("}"); return }
      take(",")
    }
  } else if (mark == "[") {
    take("["); skip()
    if (substr(rest, 1, 1) == "]") { take("]"); return }
    for (number = 0; ; number++) {
      value(path "/" number, depth + 1); skip()
      if (substr(rest, 1, 1) == "]") { take("]"); return }
      take(",")
    }
  } else if (mark == "\"") show(path, string())
  else if (match(rest, /^[-+.0-9a-zA-Z]+/)) {
    key = substr(rest, 1, RLENGTH)
    rest = substr(rest, RLENGTH + 1)
    show(path, key)
  } else fail()
}
{ rest = rest $0 "\n" }
END { if (!bad) { value("", 0); skip(); if (rest != "") exit 1 } else exit 1 }
