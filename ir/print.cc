// Printing of the text form (ir/text.h). Canonical: one spelling for every graph.
#include <charconv>

#include "ir/text.h"

namespace exo {

namespace {

constexpr size_t kTypeColumn = 64;  // where ": type" starts when the op is short enough

std::string toText(int64_t value) { return std::to_string(value); }
std::string toText(bool value) { return value ? "true" : "false"; }
std::string toText(double value) {  // shortest form that reads back the same; always recognisable as a float
  char buffer[32];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  std::string text(buffer, end);
  return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}
std::string toText(const std::string& value) {
  std::string text = "\"";
  for (char c : value) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text + '"';
}
template <class E>
  requires std::is_enum_v<E>
std::string toText(E value) {
  return std::string(names(value)[static_cast<size_t>(value)]);
}
template <class E>
std::string toText(const std::vector<E>& values) {
  std::string text = "[";
  for (size_t i = 0; i < values.size(); ++i) text += (i ? ", " : "") + toText(values[i]);
  return text + "]";
}

std::string attrsText(const Attrs& attrs) {
  std::string text;
  Attrs copy = attrs;
  std::visit([&](auto& a) {
    a.fields([&](const char* key, auto& value, const auto&... usual) {
      if (((value == usual) || ...)) return;
      text += (text.empty() ? "" : ", ") + std::string(key) + " = " + toText(value);
    });
  }, copy);
  return text.empty() ? "" : " {" + text + "}";
}

class Printer {
 public:
  explicit Printer(const Graph& graph) : graph_(graph) {}

  std::string line(const Node& node) const {
    std::string text = names(node.results);
    if (!text.empty()) text += " = ";
    text += definition(node.op).mnemonic;
    if (!node.operands.empty()) text += " " + names(node.operands);
    text += attrsText(node.attrs);
    if (node.results.empty()) return text;
    if (text.size() < kTypeColumn) text.resize(kTypeColumn, ' ');
    text += " : ";
    for (size_t i = 0; i < node.results.size(); ++i) text += (i ? ", " : "") + valueText(graph_.value(node.results[i]));
    return text;
  }

  std::string all() const {
    std::string text = "graph @" + graph_.name;
    if (graph_.rank) text += " rank " + std::to_string(*graph_.rank) + " of";
    text += " " + toString(graph_.mesh) + " {\n";
    int block = -1;
    std::string region;
    int chain = 0;
    for (const Node& node : graph_.nodes) {
      if (node.block != block) {
        const Block& b = graph_.blocks[static_cast<size_t>(block = node.block)];
        text += "  block " + b.name + " stage " + std::to_string(b.stage) + "\n";
        region.clear();
        chain = 0;
      }
      const bool new_region = node.region != region;
      if (new_region) {
        region = node.region;
        text += "   region " + (region.empty() ? std::string(kNoRegion) : region) + "\n";
      }
      if (new_region ? node.grain > 0 : node.chain != chain) text += chainLine(node);
      chain = node.chain;
      text += "    " + line(node) + "\n";
    }
    return text + "  return" + (graph_.outputs.empty() ? "" : " " + names(graph_.outputs)) + "\n}\n";
  }

 private:
  static std::string chainLine(const Node& node) {
    return "   chain" + (node.grain > 0 ? " columns " + std::to_string(node.grain) : "") + "\n";
  }
  std::string names(const std::vector<ValueId>& ids) const {
    std::string text;
    for (ValueId id : ids) {
      text += text.empty() ? "" : ", ";
      text += (graph_.isGlobal(id) ? '@' : '%') + graph_.value(id).name;
    }
    return text;
  }
  static std::string valueText(const Value& value) {
    std::string text = toString(value.type);
    if (value.sharding) text += " " + toString(*value.sharding);
    if (value.offset) text += " at " + std::to_string(*value.offset);
    return text;
  }

  const Graph& graph_;
};

}  // namespace

std::string print(const Graph& graph) { return Printer(graph).all(); }

std::string print(const Graph& graph, const Node& node) { return Printer(graph).line(node); }

std::string print(const Module& module) {
  std::string text;
  for (const Graph& graph : module.graphs) text += (text.empty() ? "" : "\n") + print(graph);
  return text;
}

}  // namespace exo
