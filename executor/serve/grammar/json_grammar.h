// JSON and JSON Schema (2020-12) as grammars.
//
// Every text of the grammar is valid for the schema; not every valid text is one of the grammar:
//   properties come in the order of the schema, and others only where additionalProperties is true or a schema;
//   white space is none, a space, or a line break with indentation, and stands where people put it;
//   numbers have at most 16 digits before and after the point and two in the exponent; strings of patterns escape only what must be.
// Honoured: type, enum, const, properties, required, additionalProperties, items, prefixItems, minItems, maxItems, minLength, maxLength,
// pattern, minimum, maximum and their exclusive forms (integers, and numbers with whole inclusive bounds), anyOf, oneOf (as anyOf),
// allOf (of objects), $ref into the document, recursive or not; format date, time, date-time, uuid and ipv4. Other formats and
// unknown words are annotations, as the specification has it; its other assertions (not, if, uniqueItems, …) are refused by name.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "executor/serve/grammar/grammar.h"

namespace exo::serve {

using OrderedJson = nlohmann::ordered_json;   // a schema's properties keep their order

/// Collects rules of one grammar: several schemas (of tools, say) and what a dialect puts around them.
class JsonGrammar {
 public:
  JsonGrammar();

  Expr anyValue();
  Expr anyObject();
  /// `where` names the schema in errors ("response_format.json_schema.schema"). Errors: kInvalidInput, kUnsupported, with the path.
  Result<Expr> schema(const OrderedJson& schema, const std::string& where);
  /// For rules of what stands around; rule 0 is finish()'s.
  Grammar& rules() { return grammar_; }
  /// The grammar whose whole text is `root`; the last call.
  Grammar finish(Expr root) &&;

 private:
  uint32_t newRule();
  Grammar grammar_;
  std::optional<uint32_t> any_value_;
};

/// One object of this schema.
Result<Grammar> schemaGrammar(const OrderedJson& schema, const std::string& where);
/// Any JSON object.
Grammar objectGrammar();
/// All texts that match from beginning to end.
Result<Grammar> regexGrammar(const std::string& pattern);

namespace json {

/// The pieces, for those who compose.
Expr space();
Expr stringCharacter();                                       // one, escaped or not
Expr string(Expr characters);                                 // in quotes
Expr spelt(const CodePoints& points);                         // one of these characters inside a string, escaped where it must be
Expr stringOtherThan(const std::vector<std::string>& texts);  // in quotes
Expr integerBetween(std::optional<int64_t> min, std::optional<int64_t> max);   // inclusive; no value at all where min > max
Expr numberBetween(std::optional<int64_t> min, std::optional<int64_t> max);
/// "[" items "]" with at least min and at most max of `item` after the prefix.
Expr array(const std::vector<Expr>& prefix, const Expr& item, uint32_t min, uint32_t max);

struct Property {
  Expr pair;            // "name": value
  bool required = false;
};
/// Properties in this order, then any number of `others` (null: none).
Expr object(const std::vector<Property>& properties, const Expr& others);
Expr pair(const Expr& name, const Expr& value);

}  // namespace json
}  // namespace exo::serve
