#include "frontend/template/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "frontend/template/unicode_text.h"

namespace exo::jinja {
namespace {

constexpr size_t kIndexedFrom = 16;  // below, a linear search over short keys is faster than hashing
constexpr size_t kNotFound = static_cast<size_t>(-1);

/// Writes texts of values into one string, stopping when the budget is spent.
class TextWriter {
 public:
  explicit TextWriter(Budget& budget) : budget_(budget) {}

  Status write(const Value& value, bool is_repr) {
    if (!budget_.spend(1)) return budget_.check();
    if (out_.size() > budget_.maxBytes()) return budget_.allow(out_.size());
    switch (value.type()) {
      case Type::kNone: return put("None");
      case Type::kUndefined: return put(is_repr ? "Undefined" : "");
      case Type::kBool: return put(value.asBool() ? "True" : "False");
      case Type::kInt: return put(std::to_string(value.asInt()));
      case Type::kFloat: return put(floatText(value.asFloat()));
      case Type::kString: return writeString(value, is_repr);
      case Type::kSequence: return writeSequence(value.asSequence());
      case Type::kDict: return writeDict(value.asDict());
      case Type::kNamespace: return refuse("namespace");
      case Type::kMacro: return refuse("macro");
      case Type::kCallable: return refuse("function");
    }
    return {};
  }
  std::string take() { return std::move(out_); }

 private:
  static Status refuse(const char* what) { return makeError(ErrorCode::kUnsupported, "a ", what, " has no text that could be printed"); }
  Status put(std::string_view text) {
    out_ += text;
    return {};
  }
  Status writeString(const Value& value, bool is_repr) {
    EXO_TRY(budget_.allow(value.text().size()));
    if (!is_repr) return put(value.text());
    if (value.isMarkup()) return put("Markup(" + reprString(value.text()) + ")");
    return put(reprString(value.text()));
  }
  Status writeSequence(const Sequence& sequence) {
    switch (sequence.kind) {
      case SequenceKind::kGenerator:
        return makeError(ErrorCode::kUnsupported, "a generator has no text that could be printed; use |list or |join");
      case SequenceKind::kRange: return writeRange(sequence);
      case SequenceKind::kView:
        out_ += sequence.view_name;
        EXO_TRY(writeItems(sequence, "([", "])"));
        return {};
      case SequenceKind::kTuple: return writeItems(sequence, "(", sequence.items.size() == 1 ? ",)" : ")");
      case SequenceKind::kList: return writeItems(sequence, "[", "]");
    }
    return {};
  }
  Status writeRange(const Sequence& range) {
    out_ += "range(" + std::to_string(range.range_start) + ", " + std::to_string(range.range_stop);
    if (range.range_step != 1) out_ += ", " + std::to_string(range.range_step);
    return put(")");
  }
  Status writeItems(const Sequence& sequence, const char* open, const char* close) {
    out_ += open;
    for (size_t i = 0; i < sequence.items.size(); ++i) {
      if (i > 0) out_ += ", ";
      EXO_TRY(write(sequence.items[i], true));
    }
    return put(close);
  }
  Status writeDict(const Dict& dict) {
    out_ += "{";
    bool is_first = true;
    for (const auto& [key, value] : dict.entries) {
      if (!is_first) out_ += ", ";
      is_first = false;
      EXO_TRY(write(key, true));
      out_ += ": ";
      EXO_TRY(write(value, true));
    }
    return put("}");
  }

  Budget& budget_;
  std::string out_;
};

bool equalSequences(const Sequence& left, const Sequence& right, Budget& budget) {
  if (left.kind != right.kind || left.items.size() != right.items.size()) return false;
  if (left.kind == SequenceKind::kGenerator || left.kind == SequenceKind::kView) return &left == &right;
  for (size_t i = 0; i < left.items.size(); ++i) {
    if (!equals(left.items[i], right.items[i], budget)) return false;
  }
  return true;
}

bool equalDicts(const Dict& left, const Dict& right, Budget& budget) {
  if (left.entries.size() != right.entries.size()) return false;
  for (const auto& [key, value] : left.entries) {
    const Value* other = right.find(key, budget);
    if (other == nullptr || !equals(value, *other, budget)) return false;
  }
  return true;
}

bool equalNumbers(const Value& left, const Value& right) {
  if (left.isIntegral() && right.isIntegral()) return left.asInt() == right.asInt();
  return left.asFloat() == right.asFloat();
}

template <class T>
int threeWay(const T& left, const T& right) {
  return left < right ? -1 : (right < left ? 1 : 0);
}

Result<int> compareSequences(const Sequence& left, const Sequence& right, const char* op, Budget& budget) {
  for (size_t i = 0; i < left.items.size() && i < right.items.size(); ++i) {
    if (!equals(left.items[i], right.items[i], budget)) return compare(left.items[i], right.items[i], op, budget);
  }
  return threeWay(left.items.size(), right.items.size());
}

void appendHexEscape(std::string& out, char32_t code) {
  char buffer[16];
  const char* format = code < 0x100 ? "\\x%02x" : (code < 0x10000 ? "\\u%04x" : "\\U%08x");
  std::snprintf(buffer, sizeof buffer, format, static_cast<unsigned>(code));
  out += buffer;
}

Result<Value> stringFromJson(const std::string& text, Origin origin) {
  if (!isValidUtf8(text)) return invalid("a string in the template's variables is not valid UTF-8");
  return Value::string(origin == Origin::kOurs ? QuotedText{text, {}} : QuotedText::quote(text));
}

bool isUsualRole(const nlohmann::ordered_json& role) {
  constexpr std::string_view kRoles[] = {"assistant", "developer", "function", "system", "tool", "user"};
  return role.is_string() && std::find(std::begin(kRoles), std::end(kRoles), role.get_ref<const std::string&>()) != std::end(kRoles);
}

Result<Value> listFromJson(const nlohmann::ordered_json& json, Origin origin, Budget& budget) {
  std::vector<Value> items;
  items.reserve(json.size());
  for (const auto& element : json) {
    EXO_ASSIGN(Value item, fromJson(element, origin, budget));
    items.push_back(std::move(item));
  }
  return Value::list(std::move(items));
}

Result<Value> dictFromJson(const nlohmann::ordered_json& json, Origin origin, Budget& budget) {
  Dict dict;
  for (auto it = json.begin(); it != json.end(); ++it) {
    if (!isValidUtf8(it.key())) return invalid("a key of the template's variables is not valid UTF-8");
    const Origin own = it.key() == "role" && isUsualRole(it.value()) ? Origin::kOurs : origin;
    EXO_ASSIGN(Value value, fromJson(it.value(), own, budget));
    EXO_ASSIGN(Value key, stringFromJson(it.key(), origin));
    dict.set(std::move(key), std::move(value), budget);
  }
  return Value::dict(std::move(dict));
}

Result<Value> nested(Result<Value> (*convert)(const nlohmann::ordered_json&, Origin, Budget&), const nlohmann::ordered_json& json, Origin origin, Budget& budget) {
  thread_local int depth = 0;
  struct Guard {
    Guard() { ++depth; }
    ~Guard() { --depth; }
  } guard;
  if (depth > kMaxValueDepth) return invalid("the template's variables are nested deeper than ", kMaxValueDepth, " levels");
  return convert(json, origin, budget);
}

}  // namespace

Value Value::undefined(std::string why) { return Value(Data(std::make_shared<const Undefined>(Undefined{std::move(why)}))); }

Value Value::string(QuotedText text) {
  size_t length = countCodePoints(text.text);
  return Value(Data(std::make_shared<const String>(String{std::move(text), length, false})));
}

Value Value::markup(QuotedText text) {
  size_t length = countCodePoints(text.text);
  return Value(Data(std::make_shared<const String>(String{std::move(text), length, true})));
}

Value Value::method(const Value& receiver, std::string name) {
  return Value(Data(std::make_shared<const Callable>(Callable{std::make_shared<const Value>(receiver), std::move(name)})));
}

Result<Value> Value::sequence(Sequence sequence) {
  sequence.depth = 1;
  for (const Value& item : sequence.items) sequence.depth = std::max(sequence.depth, item.depth() + 1);
  if (sequence.depth > kMaxValueDepth) return invalid("a list is nested deeper than ", kMaxValueDepth, " levels");
  return Value(Data(std::make_shared<const Sequence>(std::move(sequence))));
}

Result<Value> Value::dict(Dict dict) {
  dict.depth = 1;
  for (const auto& [key, value] : dict.entries) dict.depth = std::max({dict.depth, key.depth() + 1, value.depth() + 1});
  if (dict.depth > kMaxValueDepth) return invalid("a dict is nested deeper than ", kMaxValueDepth, " levels");
  return Value(Data(std::make_shared<const Dict>(std::move(dict))));
}

Type Value::type() const {
  constexpr Type kTypes[] = {Type::kNone,     Type::kUndefined, Type::kBool,      Type::kInt,   Type::kFloat,   Type::kString,
                             Type::kSequence, Type::kDict,      Type::kNamespace, Type::kMacro, Type::kCallable};
  static_assert(std::size(kTypes) == std::variant_size_v<Data>);
  return kTypes[data_.index()];
}

bool Value::isSameAs(const Value& other) const {
  if (isString() && other.isString()) return text() == other.text();
  return data_ == other.data_;
}

bool Value::truth() const {
  switch (type()) {
    case Type::kNone:
    case Type::kUndefined: return false;
    case Type::kBool: return asBool();
    case Type::kInt: return asInt() != 0;
    case Type::kFloat: return asFloat() != 0;
    case Type::kString: return !text().empty();
    case Type::kSequence: return asSequence().kind == SequenceKind::kGenerator || !asSequence().items.empty();
    case Type::kDict: return !asDict().entries.empty();
    default: return true;
  }
}

int Value::depth() const {
  if (isSequence()) return asSequence().depth;
  if (isDict()) return asDict().depth;
  // A bound method holds its receiver, so it counts as one more level.
  if (type() == Type::kCallable && asCallable().receiver) return asCallable().receiver->depth() + 1;
  return 0;
}

size_t Dict::indexOf(std::string_view key) const {
  if (entries.size() > kIndexedFrom) {
    auto found = string_index.find(std::string(key));
    return found == string_index.end() ? kNotFound : found->second;
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].first.isString() && entries[i].first.text() == key) return i;
  }
  return kNotFound;
}

const Value* Dict::find(std::string_view key) const {
  size_t index = indexOf(key);
  return index == kNotFound ? nullptr : &entries[index].second;
}

const Value* Dict::find(const Value& key, Budget& budget) const {
  if (key.isString()) return find(std::string_view(key.text()));
  budget.spend(entries.size());
  for (const auto& [candidate, value] : entries) {
    if (!candidate.isString() && equals(candidate, key, budget)) return &value;
  }
  return nullptr;
}

void Dict::set(Value key, Value value, Budget& budget) {
  if (const Value* existing = find(key, budget)) {
    const_cast<Value&>(*existing) = std::move(value);  // ours: this method is not const
    return;
  }
  append(std::move(key), std::move(value));
}

void Dict::append(Value key, Value value) {
  entries.emplace_back(std::move(key), std::move(value));
  if (entries.size() <= kIndexedFrom) return;
  size_t first = string_index.empty() ? 0 : entries.size() - 1;
  for (size_t i = first; i < entries.size(); ++i) {
    if (entries[i].first.isString()) string_index.emplace(entries[i].first.text(), i);
  }
}

const Value* Namespace::find(std::string_view name) const {
  for (const auto& [field, value] : fields) {
    if (field == name) return &value;
  }
  return nullptr;
}

void Namespace::set(const std::string& name, Value value) {
  for (auto& [field, old] : fields) {
    if (field == name) {
      old = std::move(value);
      return;
    }
  }
  fields.emplace_back(name, std::move(value));
}

std::string typeName(const Value& value) {
  switch (value.type()) {
    case Type::kNone: return "NoneType";
    case Type::kUndefined: return "Undefined";
    case Type::kBool: return "bool";
    case Type::kInt: return "int";
    case Type::kFloat: return "float";
    case Type::kString: return value.isMarkup() ? "Markup" : "str";
    case Type::kSequence:
      switch (value.asSequence().kind) {
        case SequenceKind::kList: return "list";
        case SequenceKind::kTuple: return "tuple";
        case SequenceKind::kRange: return "range";
        case SequenceKind::kView: return value.asSequence().view_name;
        case SequenceKind::kGenerator: return "generator";
      }
      return "list";
    case Type::kDict: return "dict";
    case Type::kNamespace: return "Namespace";
    case Type::kMacro: return "Macro";
    case Type::kCallable: return "function";
  }
  return "object";
}

std::string describe(const Value& value) {
  if (value.isNone()) return "None";
  if (value.type() == Type::kNamespace) return "jinja2.utils.Namespace object";
  if (value.type() == Type::kMacro) return "jinja2.runtime.Macro object";
  return typeName(value) + " object";
}

bool equals(const Value& left, const Value& right, Budget& budget) {
  if (!budget.spend(1)) return false;
  if (left.isNumber() && right.isNumber()) return equalNumbers(left, right);
  if (left.type() != right.type()) return false;
  switch (left.type()) {
    case Type::kUndefined: return true;
    case Type::kString:
      budget.spendBytes(left.text().size());
      return left.text() == right.text();
    case Type::kSequence: return equalSequences(left.asSequence(), right.asSequence(), budget);
    case Type::kDict: return equalDicts(left.asDict(), right.asDict(), budget);
    default: return left.isSameAs(right);
  }
}

Result<int> compare(const Value& left, const Value& right, const char* op, Budget& budget) {
  budget.spend(1);
  EXO_TRY(budget.check());
  if (left.isUndefined()) return invalid(left.whyUndefined());
  if (right.isUndefined()) return invalid(right.whyUndefined());
  if (left.isIntegral() && right.isIntegral()) return threeWay(left.asInt(), right.asInt());
  if (left.isNumber() && right.isNumber()) return threeWay(left.asFloat(), right.asFloat());
  // UTF-8 keeps the order of code points.
  if (left.isString() && right.isString()) return threeWay(left.text().compare(right.text()), 0);
  bool is_ordered = left.isSequence() && right.isSequence() && left.asSequence().kind == right.asSequence().kind &&
                    (left.isSequence(SequenceKind::kList) || left.isSequence(SequenceKind::kTuple));
  if (is_ordered) return compareSequences(left.asSequence(), right.asSequence(), op, budget);
  return invalid("'", op, "' not supported between instances of '", typeName(left), "' and '", typeName(right), "'");
}

Result<std::string> toText(const Value& value, Budget& budget) {
  TextWriter writer(budget);
  EXO_TRY(writer.write(value, false));
  return writer.take();
}

Result<QuotedText> toQuotedText(const Value& value, Budget& budget) {
  if (value.isString()) {
    EXO_TRY(budget.allow(value.text().size()));
    return value.content();
  }
  EXO_ASSIGN(std::string text, toText(value, budget));
  return hasQuotes(value, budget) ? QuotedText::quote(std::move(text)) : QuotedText{std::move(text), {}};
}

bool hasQuotes(const Value& value, Budget& budget) {
  if (!budget.spend(1)) return true;
  if (value.isString()) return !value.content().quoted.empty();
  if (value.isSequence()) {
    const auto& items = value.asSequence().items;
    return std::any_of(items.begin(), items.end(), [&](const Value& item) { return hasQuotes(item, budget); });
  }
  if (!value.isDict()) return false;
  const auto& entries = value.asDict().entries;
  return std::any_of(entries.begin(), entries.end(), [&](const auto& entry) { return hasQuotes(entry.first, budget) || hasQuotes(entry.second, budget); });
}

Value quotedWhole(const Value& value) {
  if (!value.isString()) return value;
  QuotedText text = QuotedText::quote(value.text());
  return value.isMarkup() ? Value::markup(std::move(text)) : Value::string(std::move(text));
}

Result<std::string> toRepr(const Value& value, Budget& budget) {
  TextWriter writer(budget);
  EXO_TRY(writer.write(value, true));
  return writer.take();
}

std::string reprString(std::string_view text) {
  bool use_double = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  char quote = use_double ? '"' : '\'';
  std::string out(1, quote);
  for (size_t i = 0; i < text.size();) {
    char32_t code = nextCodePoint(text, i);
    if (code == static_cast<char32_t>(quote) || code == '\\') {
      out += '\\';
      out += static_cast<char>(code);
    } else if (code == '\n' || code == '\r' || code == '\t') {
      out += code == '\n' ? "\\n" : (code == '\r' ? "\\r" : "\\t");
    } else if (isPrintable(code)) {
      appendUtf8(out, code);
    } else {
      appendHexEscape(out, code);
    }
  }
  return out + quote;
}

std::string floatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<size_t>(end - buffer));
  size_t e = text.find('e');
  int exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
  std::string mantissa(text.substr(0, e));
  if (exponent < -4 || exponent >= 16) {  // Python's repr switches there
    char tail[16];
    std::snprintf(tail, sizeof tail, "e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent));
    return mantissa + tail;
  }
  auto fixed_end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed).ptr;
  std::string fixed(buffer, fixed_end);
  return fixed.find('.') == std::string::npos ? fixed + ".0" : fixed;
}

Result<std::vector<Value>> iterate(const Value& value, Budget& budget) {
  std::vector<Value> out;
  switch (value.type()) {
    case Type::kUndefined: return out;
    case Type::kString:
      if (!budget.spend(value.asString().length)) return Error(budget.check().error());
      for (size_t begin = 0, end = 0; begin < value.text().size(); begin = end) {
        nextCodePoint(value.text(), end);
        out.push_back(Value::string(value.content().part(begin, end - begin)));
      }
      return out;
    case Type::kSequence: {
      const Sequence& sequence = value.asSequence();
      if (!budget.spendBytes(sequence.items.size() * sizeof(Value))) return Error(budget.check().error());
      if (sequence.is_spent) return out;
      if (sequence.kind == SequenceKind::kGenerator) sequence.is_spent = true;
      return sequence.items;
    }
    case Type::kDict:
      if (!budget.spendBytes(value.asDict().entries.size() * sizeof(Value))) return Error(budget.check().error());
      for (const auto& entry : value.asDict().entries) out.push_back(entry.first);
      return out;
    default: return invalid("'", typeName(value), "' object is not iterable");
  }
}

bool isIterable(const Value& value) { return value.isUndefined() || value.isString() || value.isSequence() || value.isDict(); }

Result<Value> fromJson(const nlohmann::ordered_json& json, Origin origin, Budget& budget) {
  using Kind = nlohmann::json::value_t;
  switch (json.type()) {
    case Kind::null: return Value();
    case Kind::boolean: return Value::boolean(json.get<bool>());
    case Kind::number_integer: return Value::integer(json.get<int64_t>());
    case Kind::number_unsigned:
      if (json.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) return invalid("the integer ", json.get<uint64_t>(), " in the template's variables does not fit 64 bits");
      return Value::integer(json.get<int64_t>());
    case Kind::number_float: return Value::real(json.get<double>());
    case Kind::string: return stringFromJson(json.get_ref<const std::string&>(), origin);
    case Kind::array: return nested(listFromJson, json, origin, budget);
    case Kind::object: return nested(dictFromJson, json, origin, budget);
    default: return invalid("the template's variables hold a ", json.type_name(), "; expected JSON values");
  }
}

}  // namespace exo::jinja
