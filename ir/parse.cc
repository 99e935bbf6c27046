// Parsing of the text form (ir/text.h): a cursor over the text and one function per construct. Untrusted input: every
// number is range-checked, every name looked up, every type checked against the op's own inference.
#include <charconv>
#include <cmath>
#include <map>

#include "ir/text.h"
#include "ir/verify.h"

namespace exo {

namespace {

// Bounds that keep all later arithmetic within 64 bits, far above any model and cluster.
constexpr int64_t kMaxRanks = 1024;
constexpr int64_t kMaxGrain = int64_t{1} << 31;
constexpr int64_t kMaxInteger = int64_t{1} << 40;  // of sizes and attributes
constexpr int64_t kMaxOffset = int64_t{1} << 60;
constexpr double kMaxElements = 1e17;              // of all values of a graph, T and R taken as 1e6

bool isNameChar(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-' || c == '/'; }

class Parser {
 public:
  Parser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  Result<Module> module() {
    Module module;
    while (skipSpace(), at_ < text_.size()) {
      EXO_ASSIGN(Graph graph, this->graph());
      module.graphs.push_back(std::move(graph));
    }
    if (module.graphs.empty()) return expected("'graph'");
    return module;
  }

 private:
  // --- the cursor -------------------------------------------------------------------------------------------------
  void skipSpace() {
    while (at_ < text_.size()) {
      if (std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
      else if (text_.substr(at_, 2) == "//") at_ = std::min(text_.find('\n', at_), text_.size());
      else break;
    }
  }
  bool take(std::string_view token) {
    skipSpace();
    if (text_.substr(at_, token.size()) != token) return false;
    if (isNameChar(token.back()) && at_ + token.size() < text_.size() && isNameChar(text_[at_ + token.size()])) return false;
    at_ += token.size();
    return true;
  }
  Status need(std::string_view token) {
    if (!take(token)) return expected("'" + std::string(token) + "'");
    return {};
  }
  Error errorAt(size_t at, const std::string& message) const {
    size_t line = 1, begin = 0;
    for (size_t i = 0; i < at && i < text_.size(); ++i) {
      if (text_[i] == '\n') ++line, begin = i + 1;
    }
    return invalid(file_, ":", line, ":", at - begin + 1, ": ", message);
  }
  Error expected(const std::string& what) {
    skipSpace();
    std::string got = "the end of the text";
    if (at_ < text_.size()) {
      size_t end = at_ + 1;
      while (end < text_.size() && end < at_ + 30 && isNameChar(text_[at_]) && isNameChar(text_[end])) ++end;
      got = "'" + std::string(text_.substr(at_, end - at_)) + "'";
    }
    return errorAt(at_, "expected " + what + ", got " + got);
  }

  // --- scalars ----------------------------------------------------------------------------------------------------
  Result<std::string> word(const std::string& what) {
    skipSpace();
    size_t end = at_;
    while (end < text_.size() && isNameChar(text_[end])) ++end;
    if (end == at_) return expected(what);
    std::string result(text_.substr(at_, end - at_));
    at_ = end;
    return result;
  }
  Result<int64_t> integer(const std::string& what, int64_t low = INT64_MIN, int64_t high = INT64_MAX) {
    skipSpace();
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc{} || value < low || value > high) return expected(what);
    at_ = static_cast<size_t>(end - text_.data());
    return value;
  }
  Status read(int64_t& value) {
    EXO_ASSIGN(value, integer("an integer of at most 2^40", -kMaxInteger, kMaxInteger));
    return {};
  }
  Status read(double& value) {
    skipSpace();
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc{} || !std::isfinite(value)) return expected("a finite number");
    at_ = static_cast<size_t>(end - text_.data());
    return {};
  }
  Status read(bool& value) {
    value = take("true");
    if (!value && !take("false")) return expected("'true' or 'false'");
    return {};
  }
  template <class E>
    requires std::is_enum_v<E>
  Status read(E& value) {
    std::string known;
    for (size_t i = 0; i < names(value).size(); ++i) {
      if (take(names(value)[i])) {
        value = static_cast<E>(i);
        return {};
      }
      known += (i ? " or " : "") + std::string(names(value)[i]);
    }
    return expected(known);
  }
  Status read(std::string& value) {
    EXO_TRY(need("\""));
    value.clear();
    for (; at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\n'; ++at_) {
      if (text_[at_] == '\\' && (text_.substr(at_ + 1, 1) == "\"" || text_.substr(at_ + 1, 1) == "\\")) ++at_;
      value += text_[at_];
    }
    if (at_ >= text_.size() || text_[at_] != '"') return expected("'\"' at the end of the string");
    ++at_;
    return {};
  }
  template <class E>
  Status read(std::vector<E>& values) {
    EXO_TRY(need("["));
    values.clear();
    while (!take("]")) {
      if (!values.empty()) EXO_TRY(need(","));
      EXO_TRY(read(values.emplace_back()));
    }
    return {};
  }

  // --- types and shardings ----------------------------------------------------------------------------------------
  Result<Dim> dim() {
    if (take("T")) return T;
    if (take("S")) return S;
    if (take("R")) return R;
    EXO_ASSIGN(int64_t size, integer("a dimension: T, S, R or a number up to 2^40", 0, kMaxInteger));
    return Dim(size);
  }
  Result<Type> type() {
    skipSpace();
    const size_t begin = at_;
    EXO_ASSIGN(std::string encoding_name, word("a type such as f32[T, 64]"));
    const auto encoding = parseEncoding(encoding_name);
    if (!encoding) return errorAt(begin, "expected an encoding (f32, bf16, f16, i32, w8, w4, x8), got '" + encoding_name + "'");
    Type type{*encoding, {}};
    EXO_TRY(need("["));
    do {
      EXO_ASSIGN(Dim d, dim());
      type.shape.push_back(d);
      if (type.shape.size() > 4) return errorAt(begin, "expected at most 4 dimensions");
    } while (take(","));
    EXO_TRY(need("]"));
    double product = 1;
    for (Dim d : type.shape) product *= d.isSymbol() ? 1e6 : std::max(1.0, static_cast<double>(d.size()));
    elements_ += product;
    if (elements_ > kMaxElements) return errorAt(begin, "expected at most 1e17 elements in all values of a graph, more with " + toString(type));
    return type;
  }
  Result<Split> split() {
    Split split;
    EXO_ASSIGN(int64_t dim, integer("a dimension", 0, 3));
    split.dim = static_cast<int>(dim);
    EXO_TRY(need(","));
    EXO_TRY(need("["));
    int64_t at = 0;
    while (!take("]")) {
      if (!split.ranges.empty()) EXO_TRY(need(","));
      EXO_ASSIGN(int64_t first, integer("an extent or begin:end", 0, kMaxInteger));
      Range range{at, at + first};
      if (take(":")) {
        EXO_ASSIGN(int64_t end, integer("the end of a range, at least its begin", first, kMaxInteger));
        range = {first, end};
      }
      if (range.end > kMaxInteger) return expected("extents that sum to at most 2^40 before this");
      at = range.end;
      split.ranges.push_back(range);
    }
    EXO_TRY(need(")"));
    return split;
  }
  Result<Sharding> sharding() {  // after '{'
    Sharding result = Replicated{};
    if (!take("replicated")) {
      EXO_TRY(need("tp"));
      EXO_TRY(need(":"));
      if (take("partial")) {
        EXO_TRY(need("("));
        const bool top_k = take("top_k");
        if (!top_k) EXO_TRY(need("sum"));
        EXO_TRY(need(")"));
        result = Partial{top_k ? Partial::Kind::kTopK : Partial::Kind::kSum};
      } else {
        if (!take("split")) return expected("'split' or 'partial'");
        EXO_TRY(need("("));
        EXO_ASSIGN(result, split());
      }
    }
    EXO_TRY(need("}"));
    return result;
  }
  Result<Mesh> mesh() {
    Mesh mesh;
    EXO_TRY(need("mesh"));
    EXO_TRY(need("("));
    if (take("pp")) {
      EXO_TRY(need("="));
      EXO_ASSIGN(int64_t stages, integer("a number of stages from 1 to 1024", 1, kMaxRanks));
      EXO_TRY(need(","));
      EXO_TRY(need("tp"));
      EXO_TRY(need("="));
      std::vector<int64_t> sizes;
      EXO_TRY(read(sizes));
      if (static_cast<int64_t>(sizes.size()) != stages) return expected("tp to list " + std::to_string(stages) + " stages before this");
      mesh.stage_sizes.clear();
      for (int64_t size : sizes) {
        if (size < 1 || size > kMaxRanks) return expected("stages of 1 to 1024 ranks before this");
        mesh.stage_sizes.push_back(static_cast<int>(size));
      }
      if (mesh.numRanks() > kMaxRanks) return expected("a mesh of at most 1024 ranks before this");
    } else {
      EXO_TRY(need("tp"));
      EXO_TRY(need("="));
      EXO_ASSIGN(int64_t size, integer("a number of ranks from 1 to 1024", 1, kMaxRanks));
      mesh.stage_sizes = {static_cast<int>(size)};
    }
    EXO_TRY(need(")"));
    return mesh;
  }

  // --- graphs -----------------------------------------------------------------------------------------------------
  Result<Graph> graph() {
    Graph graph;
    names_.clear();
    elements_ = 0;
    EXO_TRY(need("graph"));
    EXO_TRY(need("@"));
    EXO_ASSIGN(graph.name, word("a graph name"));
    if (take("rank")) {
      EXO_ASSIGN(int64_t rank, integer("a rank", 0, kMaxRanks - 1));
      EXO_TRY(need("of"));
      graph.rank = static_cast<int>(rank);
    }
    EXO_ASSIGN(graph.mesh, mesh());
    if (graph.rank && *graph.rank >= graph.mesh.numRanks()) return expected("a rank of the mesh before this");
    EXO_TRY(need("{"));
    Node place{};  // region, chain and grain of the nodes that follow
    bool in_chain = false;
    while (!take("return")) {
      if (take("block")) {
        EXO_TRY(block(graph));
        place = {};
        in_chain = false;
      } else if (take("region")) {
        place = {};
        in_chain = false;
        EXO_ASSIGN(place.region, word("a region name"));
        if (place.region == kNoRegion) place.region.clear();
      } else if (take("chain")) {
        if (in_chain) ++place.chain;
        in_chain = true;
        place.grain = 0;
        if (take("columns")) {
          EXO_ASSIGN(place.grain, integer("a number of columns", 1, kMaxGrain));
        }
      } else {
        if (graph.blocks.empty()) return expected("'block'");
        in_chain = true;
        EXO_TRY(node(graph, place));
      }
    }
    skipSpace();
    while (!take("}")) {
      if (!graph.outputs.empty()) EXO_TRY(need(","));
      EXO_ASSIGN(ValueId id, operand());
      graph.outputs.push_back(id);
    }
    return renumber(graph);  // drops blocks without nodes
  }
  Status block(Graph& graph) {
    EXO_ASSIGN(std::string name, word("a block name"));
    EXO_TRY(need("stage"));
    EXO_ASSIGN(int64_t stage, integer("a stage of the mesh", 0, graph.mesh.numStages() - 1));
    for (size_t i = 0; i < graph.blocks.size(); ++i) {
      if (graph.blocks[i].name != name) continue;
      block_ = static_cast<int>(i);
      if (graph.blocks[i].stage != stage) return expected("block " + name + " to have one stage, before this");
      return {};
    }
    block_ = static_cast<int>(graph.blocks.size());
    graph.blocks.push_back({name, static_cast<int>(stage)});
    return {};
  }
  Result<ValueId> operand() {
    skipSpace();
    const size_t begin = at_;
    if (!take("%") && !take("@")) return expected("a value");
    EXO_ASSIGN(std::string name, word("a value name"));
    const auto found = names_.find(text_[begin] + name);
    if (found == names_.end()) return errorAt(begin, "unknown value " + std::string(1, text_[begin]) + name);
    return found->second;
  }
  Result<std::vector<std::string>> resultNames() {
    std::vector<std::string> names;
    do {
      skipSpace();
      const char sigil = at_ < text_.size() ? text_[at_] : ' ';
      if (!take("%") && !take("@")) return expected("a value or an op");
      EXO_ASSIGN(std::string name, word("a value name"));
      if (names_.contains(sigil + name)) return errorAt(at_ - name.size() - 1, "the name " + (sigil + name) + " is taken already");
      names.push_back(sigil + name);
    } while (take(","));
    EXO_TRY(need("="));
    return names;
  }
  Status node(Graph& graph, const Node& place) {
    skipSpace();
    const size_t begin = at_;
    std::vector<std::string> results;
    if (at_ < text_.size() && (text_[at_] == '%' || text_[at_] == '@')) {
      EXO_ASSIGN(results, resultNames());
    }
    EXO_ASSIGN(Node node, opAndOperands());
    node.block = block_;
    node.region = place.region;
    node.chain = place.chain;
    node.grain = place.grain;
    std::vector<Value> values;
    if (!results.empty()) {
      EXO_ASSIGN(values, declarations(results));
    }
    if (auto status = checkTypes(graph, node, values); !status.ok()) return errorAt(begin, status.error().message());
    for (size_t i = 0; i < values.size(); ++i) {
      const ValueId id = static_cast<ValueId>(graph.values.size());
      if ((results[i][0] == '@') != definition(node.op).has(kGlobal)) return errorAt(begin, "expected @ for weights and caches and % for other values");
      names_[results[i]] = id;
      node.results.push_back(id);
      graph.values.push_back(std::move(values[i]));
    }
    graph.nodes.push_back(std::move(node));
    return {};
  }
  Result<Node> opAndOperands() {
    skipSpace();
    const size_t begin = at_;
    EXO_ASSIGN(std::string mnemonic, word("an op"));
    Node node{};
    const OpDef* def = findOp(mnemonic, &node.op);
    if (!def) return errorAt(begin, "unknown op '" + mnemonic + "'");
    while (skipSpace(), at_ < text_.size() && (text_[at_] == '%' || text_[at_] == '@') && node.operands.size() < def->operands.size()) {
      EXO_ASSIGN(ValueId id, operand());
      node.operands.push_back(id);
      if (node.operands.size() < leastOperands(*def)) EXO_TRY(need(","));
      else if (node.operands.size() == def->operands.size() || !take(",")) break;
    }
    if (node.operands.size() < leastOperands(*def)) {
      return errorAt(begin, mnemonic + ": expected " + std::to_string(leastOperands(*def)) + " operands, got " + std::to_string(node.operands.size()));
    }
    node.attrs = (*def->attrs)();
    EXO_TRY(attributes(node.attrs));
    return node;
  }
  bool follows(std::string_view separator, std::string_view key) {
    const size_t before = at_;
    const bool found = take(separator) && take(key);
    at_ = before;
    return found;
  }
  Status attributes(Attrs& attrs) {
    Status status;
    bool first = true;
    std::visit([&](auto& a) {
      a.fields([&](const char* key, auto& value, const auto&... usual) {
        if (!status.ok()) return;
        if (sizeof...(usual) > 0 && !follows(first ? "{" : ",", key)) return;
        status = [&]() -> Status {
          EXO_TRY(need(first ? "{" : ","));
          first = false;
          EXO_TRY(need(key));
          EXO_TRY(need("="));
          return read(value);
        }();
      });
    }, attrs);
    if (status.ok() && !first) return need("}");
    return status;
  }
  Result<std::vector<Value>> declarations(const std::vector<std::string>& names) {
    EXO_TRY(need(":"));
    std::vector<Value> values;
    for (const std::string& name : names) {
      if (!values.empty()) EXO_TRY(need(","));
      Value value{name.substr(1), {}, std::nullopt, std::nullopt, name[0] == '@'};
      EXO_ASSIGN(value.type, type());
      if (take("{")) {
        EXO_ASSIGN(value.sharding, sharding());
      }
      if (take("at")) {
        EXO_ASSIGN(value.offset, integer("an offset from 0 to 2^60", 0, kMaxOffset));
      }
      values.push_back(std::move(value));
    }
    return values;
  }
  Status checkTypes(const Graph& graph, const Node& node, const std::vector<Value>& values) {
    std::vector<Type> declared;
    for (const Value& value : values) declared.push_back(value.type);
    EXO_ASSIGN(std::vector<Type> inferred, definition(node.op).infer(node.attrs, graph.operandTypes(node), declared));
    if (inferred.size() != declared.size()) return invalid(definition(node.op).mnemonic, ": expected ", inferred.size(), " results, got ", declared.size());
    for (size_t i = 0; i < inferred.size(); ++i) {
      if (inferred[i] == declared[i]) continue;
      return invalid(definition(node.op).mnemonic, ": result ", i, " must be ", toString(inferred[i]), ", got ", toString(declared[i]));
    }
    return {};
  }

  std::string_view text_;
  const std::string& file_;
  size_t at_ = 0;
  int block_ = 0;
  double elements_ = 0;  // of the values of this graph so far
  std::map<std::string, ValueId> names_;  // with sigil
};

}  // namespace

Result<Module> parseModule(std::string_view text, const std::string& file) {
  EXO_ASSIGN(Module module, Parser(text, file).module());
  EXO_TRY(verify(module));
  return module;
}

}  // namespace exo
