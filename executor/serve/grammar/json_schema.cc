// JSON Schema as grammar: each schema is read by the words it has.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "executor/serve/grammar/json_grammar.h"
#include "executor/serve/grammar/regex.h"

namespace exo::serve {
namespace {

constexpr int kMaxDepth = 100;
constexpr uint32_t kMaxCount = 65536;

// Assertions that a grammar would have to honour and that this one does not.
constexpr std::array kRefused = {"not", "if", "then", "else", "dependentSchemas", "dependentRequired", "dependencies", "patternProperties", "propertyNames",
                                 "unevaluatedProperties", "unevaluatedItems", "contains", "minContains", "maxContains", "multipleOf", "minProperties", "maxProperties",
                                 "$dynamicRef", "$recursiveRef", "additionalItems"};

struct Format {
  const char* name;
  const char* pattern;
};
#define EXO_DATE "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
#define EXO_TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
constexpr std::array kFormats = {
    Format{"date", "^" EXO_DATE "$"}, Format{"time", "^" EXO_TIME "$"}, Format{"date-time", "^" EXO_DATE "T" EXO_TIME "$"},
    Format{"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
    Format{"ipv4", "^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$"}};
#undef EXO_DATE
#undef EXO_TIME

/// One document: the schema that is asked for, and those it refers to.
class SchemaReader {
 public:
  SchemaReader(JsonGrammar& grammar, Grammar& rules, const OrderedJson& document) : grammar_(grammar), rules_(rules), document_(document) {}

  Result<Expr> read(const OrderedJson& schema, const std::string& where) {
    if (++depth_ > kMaxDepth) return invalid(where, ": nested deeper than ", kMaxDepth);
    auto result = readHere(schema, where);
    --depth_;
    return result;
  }

 private:
  Result<Expr> readHere(const OrderedJson& schema, const std::string& where) {
    if (schema.is_boolean() && schema.get<bool>()) return grammar_.anyValue();
    if (!schema.is_object()) return invalid(where, ": expected a schema (an object), got ", schema.dump().substr(0, 60));
    for (const char* word : kRefused) {
      if (schema.contains(word)) return makeError(ErrorCode::kUnsupported, where, ".", word, ": this word of JSON Schema is not supported");
    }
    if (schema.contains("uniqueItems") && schema["uniqueItems"] != false) return makeError(ErrorCode::kUnsupported, where, ".uniqueItems: is not supported");
    if (schema.contains("$ref")) return readReference(schema, where);
    if (schema.contains("const")) return literal(schema["const"].dump());
    if (schema.contains("enum")) return readEnum(schema["enum"], where + ".enum");
    for (const char* word : {"anyOf", "oneOf"}) {
      if (schema.contains(word)) return readWays(schema, word, where);
    }
    if (schema.contains("allOf")) return readAll(schema, where);
    return readTypes(schema, where);
  }

  /// "#/…" names another place of the document; each is a rule of its own, so that schemas may contain themselves.
  Result<Expr> readReference(const OrderedJson& schema, const std::string& where) {
    EXO_TRY(refuseBeside(schema, "$ref", where));
    const OrderedJson& value = schema["$ref"];
    const std::string pointer = value.is_string() ? value.get<std::string>() : "";
    if (!pointer.starts_with('#')) return makeError(ErrorCode::kUnsupported, where, ".$ref: expected a place in this document (\"#/…\"), got ", value.dump().substr(0, 100));
    if (const auto known = references_.find(pointer); known != references_.end()) return ruleOf(known->second);
    const OrderedJson* target = find(pointer);
    if (!target) return invalid(where, ".$ref: there is nothing at ", pointer.substr(0, 100));
    const auto rule = static_cast<uint32_t>(rules_.rules.size());
    rules_.rules.push_back(choice({}));
    references_[pointer] = rule;
    EXO_ASSIGN(rules_.rules[rule], read(*target, pointer));
    return ruleOf(rule);
  }

  /// Null where "#/…" leads nowhere.
  const OrderedJson* find(const std::string& pointer) const {
    if (!pointer.starts_with('#')) return nullptr;
    try {   // nlohmann's pointers report by throwing
      return &document_.at(OrderedJson::json_pointer(pointer.substr(1)));
    } catch (const OrderedJson::exception&) {
      return nullptr;
    }
  }

  static Result<Expr> readEnum(const OrderedJson& values, const std::string& where) {
    if (!values.is_array() || values.empty()) return invalid(where, ": expected a list of values");
    std::vector<Expr> ways;
    for (const OrderedJson& value : values) ways.push_back(literal(value.dump()));
    return choice(std::move(ways));
  }

  Result<Expr> readWays(const OrderedJson& schema, const char* word, const std::string& where) {
    EXO_TRY(refuseBeside(schema, word, where));
    const OrderedJson& list = schema[word];
    if (!list.is_array() || list.empty()) return invalid(where, ".", word, ": expected a list of schemas");
    std::vector<Expr> ways;
    for (size_t i = 0; i < list.size(); ++i) {
      EXO_ASSIGN(Expr way, read(list[i], where + "." + word + "[" + std::to_string(i) + "]"));
      ways.push_back(std::move(way));
    }
    return choice(std::move(ways));
  }

  /// Objects are merged; one schema alone is itself.
  Result<Expr> readAll(const OrderedJson& schema, const std::string& where) {
    const OrderedJson& list = schema["allOf"];
    if (!list.is_array() || list.empty()) return invalid(where, ".allOf: expected a list of schemas");
    OrderedJson merged = schema;
    merged.erase("allOf");
    for (size_t i = 0; i < list.size(); ++i) EXO_TRY(mergeObject(list[i], where + ".allOf[" + std::to_string(i) + "]", merged));
    return read(merged, where);
  }

  Status mergeObject(const OrderedJson& part, const std::string& where, OrderedJson& merged) {
    if (!part.is_object()) return invalid(where, ": expected a schema (an object), got ", part.dump().substr(0, 60));
    if (part.contains("$ref")) {
      const OrderedJson* target = part["$ref"].is_string() ? find(part["$ref"].get<std::string>()) : nullptr;
      if (!target || depth_ == kMaxDepth) return invalid(where, ".$ref: there is no schema at ", part["$ref"].dump().substr(0, 100));
      ++depth_;
      Status done = mergeObject(*target, part["$ref"].get<std::string>(), merged);
      --depth_;
      return done;
    }
    for (const auto& [word, value] : part.items()) {
      if (word == "properties" && value.is_object() && merged.contains(word)) {
        for (const auto& [name, property] : value.items()) {
          if (merged[word].contains(name) && merged[word][name] != property) return makeError(ErrorCode::kUnsupported, where, ".properties.", name, ": stands in several schemas of allOf");
          merged[word][name] = property;
        }
      } else if (word == "required" && value.is_array() && merged.contains(word)) {
        merged[word].insert(merged[word].end(), value.begin(), value.end());
      } else if (merged.contains(word) && merged[word] != value && !isAnnotation(word)) {
        return makeError(ErrorCode::kUnsupported, where, ".", word, ": stands in several schemas of allOf");
      } else {
        merged[word] = value;
      }
    }
    return {};
  }

  static bool isAnnotation(const std::string& word) {
    constexpr std::array kAssertions = {"type", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems", "minLength", "maxLength", "pattern",
                                        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"};
    return std::find(kAssertions.begin(), kAssertions.end(), word) == kAssertions.end();
  }

  /// Words that would have to hold together with `word`: only the type, which its schemas say again.
  static Status refuseBeside(const OrderedJson& schema, const std::string& word, const std::string& where) {
    for (const auto& [other, value] : schema.items()) {
      if (other != word && other != "type" && !isAnnotation(other)) return makeError(ErrorCode::kUnsupported, where, ".", other, ": is not supported beside ", word);
    }
    return {};
  }

  Result<Expr> readTypes(const OrderedJson& schema, const std::string& where) {
    if (!schema.contains("type")) {
      const auto has = [&](std::initializer_list<const char*> words) { return std::any_of(words.begin(), words.end(), [&](const char* word) { return schema.contains(word); }); };
      if (has({"properties", "required", "additionalProperties"})) return readType("object", schema, where);
      if (has({"items", "prefixItems", "minItems", "maxItems"})) return readType("array", schema, where);
      if (has({"pattern", "minLength", "maxLength"})) return readType("string", schema, where);
      if (has({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})) return readType("number", schema, where);
      return grammar_.anyValue();
    }
    const OrderedJson& type = schema["type"];
    if (type.is_string()) return readType(type.get<std::string>(), schema, where);
    if (!type.is_array() || type.empty()) return invalid(where, ".type: expected a name or a list of names, got ", type.dump().substr(0, 60));
    std::vector<Expr> ways;
    for (const OrderedJson& name : type) {
      if (!name.is_string()) return invalid(where, ".type: expected names, got ", name.dump().substr(0, 60));
      EXO_ASSIGN(Expr way, readType(name.get<std::string>(), schema, where));
      ways.push_back(std::move(way));
    }
    return choice(std::move(ways));
  }

  Result<Expr> readType(const std::string& type, const OrderedJson& schema, const std::string& where) {
    if (type == "object") return readObject(schema, where);
    if (type == "array") return readArray(schema, where);
    if (type == "string") return readString(schema, where);
    if (type == "integer") return readInteger(schema, where);
    if (type == "number") return readNumber(schema, where);
    if (type == "boolean") return choice({literal("true"), literal("false")});
    if (type == "null") return literal("null");
    return invalid(where, ".type: expected object, array, string, integer, number, boolean or null, got \"", type.substr(0, 60), '"');
  }

  Result<Expr> readObject(const OrderedJson& schema, const std::string& where) {
    const OrderedJson properties = schema.value("properties", OrderedJson::object());
    if (!properties.is_object()) return invalid(where, ".properties: expected an object, got ", properties.dump().substr(0, 60));
    EXO_ASSIGN(const std::vector<std::string> required, readNames(schema, "required", where));
    std::vector<json::Property> list;
    std::vector<std::string> names;
    for (const auto& [name, property] : properties.items()) {
      EXO_ASSIGN(const Expr value, read(property, where + ".properties." + name));
      list.push_back({json::pair(literal(OrderedJson(name).dump()), value), std::find(required.begin(), required.end(), name) != required.end()});
      names.push_back(name);
    }
    EXO_ASSIGN(const Expr others, readOthers(schema, names, where));
    for (const std::string& name : required) {
      if (properties.contains(name)) continue;
      if (!others) return makeError(ErrorCode::kUnsupported, where, ".required: \"", name, "\" is none of the properties");
      list.push_back({json::pair(literal(OrderedJson(name).dump()), grammar_.anyValue()), true});
    }
    return json::object(list, others);
  }

  /// Pairs beyond the named ones; null where there are to be none.
  Result<Expr> readOthers(const OrderedJson& schema, const std::vector<std::string>& names, const std::string& where) {
    const bool said = schema.contains("additionalProperties");
    if (!said && !names.empty()) return Expr();
    if (said && schema["additionalProperties"] == false) return Expr();
    Expr value;
    if (said) {
      EXO_ASSIGN(value, read(schema["additionalProperties"], where + ".additionalProperties"));
    } else {
      value = grammar_.anyValue();
    }
    return json::pair(json::stringOtherThan(names), value);
  }

  static Result<std::vector<std::string>> readNames(const OrderedJson& schema, const char* word, const std::string& where) {
    std::vector<std::string> names;
    if (!schema.contains(word)) return names;
    if (!schema[word].is_array()) return invalid(where, ".", word, ": expected a list of names, got ", schema[word].dump().substr(0, 60));
    for (const OrderedJson& name : schema[word]) {
      if (!name.is_string()) return invalid(where, ".", word, ": expected names, got ", name.dump().substr(0, 60));
      if (std::find(names.begin(), names.end(), name.get<std::string>()) == names.end()) names.push_back(name.get<std::string>());
    }
    return names;
  }

  Result<Expr> readArray(const OrderedJson& schema, const std::string& where) {
    EXO_ASSIGN(const uint32_t min, readCount(schema, "minItems", 0, where));
    EXO_ASSIGN(const uint32_t max, readCount(schema, "maxItems", kUnbounded, where));
    if (max < min) return invalid(where, ".maxItems: expected at least minItems (", min, "), got ", max);
    std::vector<Expr> prefix;
    if (schema.contains("prefixItems")) {
      const OrderedJson& list = schema["prefixItems"];
      if (!list.is_array()) return invalid(where, ".prefixItems: expected a list of schemas, got ", list.dump().substr(0, 60));
      for (size_t i = 0; i < list.size() && i < max; ++i) {
        EXO_ASSIGN(Expr item, read(list[i], where + ".prefixItems[" + std::to_string(i) + "]"));
        prefix.push_back(std::move(item));
      }
    }
    Expr item;
    if (!schema.contains("items")) {
      item = grammar_.anyValue();
    } else if (schema["items"] != false) {
      EXO_ASSIGN(item, read(schema["items"], where + ".items"));
    }
    const auto fixed = static_cast<uint32_t>(prefix.size());
    if (!item && min > fixed) return invalid(where, ".minItems: ", min, " items are asked for and only ", fixed, " allowed");
    return json::array(prefix, item, min > fixed ? min - fixed : 0, max == kUnbounded ? max : max - fixed);
  }

  Result<Expr> readString(const OrderedJson& schema, const std::string& where) {
    EXO_ASSIGN(const uint32_t min, readCount(schema, "minLength", 0, where));
    EXO_ASSIGN(const uint32_t max, readCount(schema, "maxLength", kUnbounded, where));
    if (max < min) return invalid(where, ".maxLength: expected at least minLength (", min, "), got ", max);
    if (schema.contains("pattern")) {
      if (min > 0 || max != kUnbounded) return makeError(ErrorCode::kUnsupported, where, ".pattern: is not supported beside minLength or maxLength");
      if (!schema["pattern"].is_string()) return invalid(where, ".pattern: expected a string, got ", schema["pattern"].dump().substr(0, 60));
      return readPattern(schema["pattern"].get<std::string>(), where + ".pattern");
    }
    if (schema.contains("format") && schema["format"].is_string() && min == 0 && max == kUnbounded) {
      const auto format = std::find_if(kFormats.begin(), kFormats.end(), [&](const Format& f) { return schema["format"] == f.name; });
      if (format != kFormats.end()) return readPattern(format->pattern, where + ".format");
    }
    return json::string(repeat(json::stringCharacter(), min, max));
  }

  static Result<Expr> readPattern(const std::string& pattern, const std::string& where) {
    auto characters = regexExpression(pattern, json::spelt);
    if (!characters.ok()) return makeError(characters.error().code(), where, ": ", characters.error().message());
    return json::string(std::move(characters).value());
  }

  Result<Expr> readInteger(const OrderedJson& schema, const std::string& where) {
    EXO_ASSIGN(auto min, readBound(schema, "minimum", std::ceil, where));
    EXO_ASSIGN(auto max, readBound(schema, "maximum", std::floor, where));
    EXO_ASSIGN(const auto above, readBound(schema, "exclusiveMinimum", std::floor, where));
    EXO_ASSIGN(const auto below, readBound(schema, "exclusiveMaximum", std::ceil, where));
    if (above) min = std::max(min.value_or(*above + 1), *above + 1);
    if (below) max = std::min(max.value_or(*below - 1), *below - 1);
    if (min && max && *min > *max) return invalid(where, ": expected minimum <= maximum, got ", *min, " and ", *max);
    return json::integerBetween(min, max);
  }

  Result<Expr> readNumber(const OrderedJson& schema, const std::string& where) {
    for (const char* word : {"exclusiveMinimum", "exclusiveMaximum"}) {
      if (schema.contains(word)) return makeError(ErrorCode::kUnsupported, where, ".", word, ": is supported for integers only");
    }
    EXO_ASSIGN(const auto min, readBound(schema, "minimum", nullptr, where));
    EXO_ASSIGN(const auto max, readBound(schema, "maximum", nullptr, where));
    if (min && max && *min > *max) return invalid(where, ": expected minimum <= maximum, got ", *min, " and ", *max);
    return json::numberBetween(min, max);
  }

  /// A bound as a whole number, rounded into the range; where there is no `rounding`, it must be one.
  static Result<std::optional<int64_t>> readBound(const OrderedJson& schema, const char* word, double (*rounding)(double), const std::string& where) {
    if (!schema.contains(word)) return std::optional<int64_t>();
    const OrderedJson& value = schema[word];
    if (!value.is_number()) return invalid(where, ".", word, ": expected a number, got ", value.dump().substr(0, 60));
    const double number = value.get<double>();
    if (!(std::abs(number) <= 1e18)) return makeError(ErrorCode::kUnsupported, where, ".", word, ": bounds beyond 10^18 are not supported");
    if (value.is_number_integer()) return std::optional<int64_t>(value.get<int64_t>());
    const double whole = rounding ? rounding(number) : number;
    if (whole != std::floor(whole)) return makeError(ErrorCode::kUnsupported, where, ".", word, ": bounds of numbers are supported where they are whole, got ", value.dump());
    return std::optional<int64_t>(static_cast<int64_t>(whole));
  }

  static Result<uint32_t> readCount(const OrderedJson& schema, const char* word, uint32_t fallback, const std::string& where) {
    if (!schema.contains(word)) return fallback;
    const OrderedJson& value = schema[word];
    if (!value.is_number_integer() || value < 0) return invalid(where, ".", word, ": expected an integer of at least 0, got ", value.dump().substr(0, 60));
    if (value > kMaxCount) return makeError(ErrorCode::kUnsupported, where, ".", word, ": expected at most ", kMaxCount, ", got ", value.dump());
    return value.get<uint32_t>();
  }

  JsonGrammar& grammar_;
  Grammar& rules_;
  const OrderedJson& document_;
  std::map<std::string, uint32_t> references_;
  int depth_ = 0;
};

}  // namespace

JsonGrammar::JsonGrammar() { newRule(); }

uint32_t JsonGrammar::newRule() {
  grammar_.rules.push_back(choice({}));
  return static_cast<uint32_t>(grammar_.rules.size() - 1);
}

Expr JsonGrammar::anyValue() {
  if (!any_value_) {
    any_value_ = newRule();
    const Expr value = ruleOf(*any_value_), text = json::string(repeat(json::stringCharacter(), 0, kUnbounded));
    grammar_.rules[*any_value_] = choice({text, json::numberBetween({}, {}), json::object({}, json::pair(text, value)), json::array({}, value, 0, kUnbounded), literal("true"), literal("false"), literal("null")});
  }
  return ruleOf(*any_value_);
}

Expr JsonGrammar::anyObject() { return json::object({}, json::pair(json::string(repeat(json::stringCharacter(), 0, kUnbounded)), anyValue())); }

Result<Expr> JsonGrammar::schema(const OrderedJson& schema, const std::string& where) { return SchemaReader(*this, grammar_, schema).read(schema, where); }

Grammar JsonGrammar::finish(Expr root) && {
  grammar_.rules[0] = std::move(root);
  return std::move(grammar_);
}

Result<Grammar> schemaGrammar(const OrderedJson& schema, const std::string& where) {
  JsonGrammar grammar;
  EXO_ASSIGN(Expr root, grammar.schema(schema, where));
  return std::move(grammar).finish(std::move(root));
}

Grammar objectGrammar() {
  JsonGrammar grammar;
  const Expr root = grammar.anyObject();
  return std::move(grammar).finish(root);
}

Result<Grammar> regexGrammar(const std::string& pattern) {
  EXO_ASSIGN(Expr root, regexExpression("^(?:" + pattern + ")$"));
  return Grammar{{std::move(root)}};
}

}  // namespace exo::serve
