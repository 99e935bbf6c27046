// Binding of arguments, and the few helpers filters and methods share.
#include <algorithm>

#include "frontend/template/builtins.h"
#include "frontend/template/operators.h"
#include "frontend/template/unicode_text.h"

namespace exo::jinja {

Result<Bound> bind(const Call& call, std::initializer_list<const char*> parameters, size_t required) {
  Bound bound(parameters.size());
  if (call.positional.size() > parameters.size()) {
    return invalid("'", call.name, "' takes at most ", parameters.size(), " arguments, got ", call.positional.size());
  }
  std::copy(call.positional.begin(), call.positional.end(), bound.begin());
  for (const auto& [name, value] : call.named) {
    auto found = std::find_if(parameters.begin(), parameters.end(), [&](const char* parameter) { return name == parameter; });
    if (found == parameters.end()) return invalid("'", call.name, "' has no argument '", name, "'");
    auto& slot = bound[static_cast<size_t>(found - parameters.begin())];
    if (slot) return invalid("'", call.name, "' got the argument '", name, "' twice");
    slot = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!bound[i]) return invalid("'", call.name, "' is missing its argument '", parameters.begin()[i], "'");
  }
  return bound;
}

Result<int64_t> integerArgument(const Call& call, const std::optional<Value>& argument, const char* parameter, int64_t fallback) {
  if (!argument || argument->isNone()) return fallback;
  EXO_TRY(requireDefined(*argument));
  if (!argument->isIntegral()) return invalid("'", call.name, "' needs an int as ", parameter, ", got ", typeName(*argument));
  return argument->asInt();
}

Result<bool> boolArgument(const std::optional<Value>& argument, bool fallback) { return argument ? argument->truth() : fallback; }

bool isHashable(const Value& value) {
  if (value.isDict() || value.isSequence(SequenceKind::kList)) return false;
  if (!value.isSequence(SequenceKind::kTuple)) return true;
  const auto& items = value.asSequence().items;
  return std::all_of(items.begin(), items.end(), isHashable);
}

bool hasQuotes(const Call& call) {
  const auto quotes = [&](const Value& value) { return hasQuotes(value, call.budget); };
  return quotes(call.self) || std::any_of(call.positional.begin(), call.positional.end(), quotes) ||
         std::any_of(call.named.begin(), call.named.end(), [&](const auto& argument) { return quotes(argument.second); });
}

Result<Value> replaceText(const QuotedText& quoted, const std::string& from, const QuotedText& to, int64_t count, Budget& budget) {
  const std::string& text = quoted.text;
  EXO_TRY(budget.allow(text.size()));
  QuotedText out;
  size_t at = 0;
  int64_t done = 0;
  if (from.empty()) {  // Python inserts before every letter and at the end
    while ((count < 0 || done < count) && at <= text.size()) {
      out += to;
      ++done;
      EXO_TRY(budget.allow(out.sizeBytes() / 64));
      if (out.sizeBytes() > budget.maxBytes()) return Error(budget.allow(out.sizeBytes()).error());
      if (at == text.size()) return Value::string(std::move(out));
      size_t next = at;
      nextCodePoint(text, next);
      out += quoted.part(at, next - at);
      at = next;
    }
    out += quoted.part(at);
    return Value::string(std::move(out));
  }
  for (size_t found; (count < 0 || done < count) && (found = text.find(from, at)) != std::string::npos; ++done) {
    out += quoted.part(at, found - at);
    out += to;
    at = found + from.size();
    if (out.sizeBytes() > budget.maxBytes()) return Error(budget.allow(out.sizeBytes()).error());
  }
  out += quoted.part(at);
  EXO_TRY(budget.allow(out.sizeBytes()));
  return Value::string(std::move(out));
}

Result<std::vector<Value>> itemPairs(const Value& dict, Budget& budget) {
  EXO_TRY(budget.allow(dict.asDict().entries.size() * 2 * sizeof(Value)));
  std::vector<Value> pairs;
  pairs.reserve(dict.asDict().entries.size());
  for (const auto& [key, value] : dict.asDict().entries) {
    EXO_ASSIGN(Value pair, Value::tuple({key, value}));
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

}  // namespace exo::jinja
