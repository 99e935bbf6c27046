// JSON as Python's json.dumps writes it: floats as repr, NaN and Infinity bare, non-string keys turned to strings.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "frontend/template/builtins.h"
#include "frontend/template/unicode_text.h"

namespace exo::jinja {
namespace {

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  Status write(const Value& value, size_t level) {
    budget_.spend(1);
    EXO_TRY(budget_.check());
    if (out_.size() > budget_.maxBytes()) return budget_.allow(out_.size());
    switch (value.type()) {
      case Type::kNone: return put("null");
      case Type::kBool: return put(value.asBool() ? "true" : "false");
      case Type::kInt: return put(std::to_string(value.asInt()));
      case Type::kFloat: return put(number(value.asFloat()));
      case Type::kString: return writeString(value.text());
      case Type::kSequence: return writeSequence(value, level);
      case Type::kDict: return writeDict(value.asDict(), level);
      default: return notSerializable(value);
    }
  }
  std::string take() { return std::move(out_); }

 private:
  static Status notSerializable(const Value& value) {
    std::string why = value.isUndefined() ? " (" + value.whyUndefined() + ")" : "";
    return invalid("Object of type ", typeName(value), " is not JSON serializable", why);
  }
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return floatText(value);
  }
  Status put(std::string_view text) {
    out_ += text;
    return {};
  }
  void newLine(size_t level) {
    out_ += '\n';
    for (size_t i = 0; i < level; ++i) out_ += *style_.indent;
  }
  void beginItem(bool is_first, size_t level) {
    if (!is_first) out_ += style_.item_separator;
    if (style_.indent) newLine(level);
  }

  void unicodeEscape(uint32_t unit) {
    char buffer[16];
    std::snprintf(buffer, sizeof buffer, "\\u%04x", unit);
    out_ += buffer;
  }
  void writeCode(char32_t code) {
    constexpr std::string_view kFrom = "\"\\\n\r\t\f\b", kTo = "\"\\nrtfb";
    size_t index = code < 0x80 ? kFrom.find(static_cast<char>(code)) : std::string_view::npos;
    if (index != std::string_view::npos) {
      out_ += '\\';
      out_ += kTo[index];
    } else if (code < 0x20 || (style_.is_ascii && code >= 0x7F && code < 0x10000)) {
      unicodeEscape(code);
    } else if (style_.is_ascii && code >= 0x10000) {
      unicodeEscape(0xD800 + ((code - 0x10000) >> 10));
      unicodeEscape(0xDC00 + ((code - 0x10000) & 0x3FF));
    } else {
      appendUtf8(out_, code);
    }
  }
  Status writeString(const std::string& text) {
    EXO_TRY(budget_.allow(text.size()));
    out_ += '"';
    for (size_t i = 0; i < text.size();) writeCode(nextCodePoint(text, i));
    return put("\"");
  }

  Status writeSequence(const Value& value, size_t level) {
    if (!value.isSequence(SequenceKind::kList) && !value.isSequence(SequenceKind::kTuple)) return notSerializable(value);
    const auto& items = value.asSequence().items;
    if (items.empty()) return put("[]");
    out_ += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      beginItem(i == 0, level + 1);
      EXO_TRY(write(items[i], level + 1));
    }
    if (style_.indent) newLine(level);
    return put("]");
  }

  Result<std::string> keyText(const Value& key) const {
    switch (key.type()) {
      case Type::kString: return key.text();
      case Type::kNone: return std::string("null");
      case Type::kBool: return std::string(key.asBool() ? "true" : "false");
      case Type::kInt: return std::to_string(key.asInt());
      case Type::kFloat: return number(key.asFloat());
      default: return invalid("keys must be str, int, float, bool or None, not ", typeName(key));
    }
  }

  Result<std::vector<const std::pair<Value, Value>*>> orderedEntries(const Dict& dict) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (!style_.sorts_keys) return entries;
    std::optional<Error> problem;
    std::stable_sort(entries.begin(), entries.end(), [&](const auto* left, const auto* right) {
      auto order = compare(left->first, right->first, "<", budget_);
      if (!order.ok()) problem = order.error();
      return order.ok() && *order < 0;
    });
    if (problem) return std::move(*problem);
    return entries;
  }

  Status writeDict(const Dict& dict, size_t level) {
    if (dict.entries.empty()) return put("{}");
    EXO_ASSIGN(auto entries, orderedEntries(dict));
    out_ += '{';
    for (size_t i = 0; i < entries.size(); ++i) {
      beginItem(i == 0, level + 1);
      EXO_ASSIGN(std::string key, keyText(entries[i]->first));
      EXO_TRY(writeString(key));
      out_ += style_.key_separator;
      EXO_TRY(write(entries[i]->second, level + 1));
    }
    if (style_.indent) newLine(level);
    return put("}");
  }

  const JsonStyle& style_;
  Budget& budget_;
  std::string out_;
};

}  // namespace

Result<std::string> toJson(const Value& value, const JsonStyle& style, Budget& budget) {
  JsonWriter writer(style, budget);
  EXO_TRY(writer.write(value, 0));
  return writer.take();
}

}  // namespace exo::jinja
