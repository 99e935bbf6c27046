#include "frontend/template/parser.h"

#include <algorithm>

#include "frontend/template/lexer.h"

namespace exo::jinja {
namespace {

constexpr int kMaxRecursion = 100;  // of brackets, `not`s and tags in each other; each level is up to a dozen C++ frames

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Result<Body> run() {
    EXO_ASSIGN(Body body, parseBody({}));
    return body;
  }

 private:
  using Names = std::vector<std::string_view>;

  /// Counts the nesting of what is being parsed.
  struct Level {
    explicit Level(int& depth) : depth(depth) { ++depth; }
    ~Level() { --depth; }
    int& depth;
  };
  Status checkDepth() const {
    if (depth_ > kMaxRecursion) return fail("nested deeper than " + std::to_string(kMaxRecursion) + " levels");
    return {};
  }

  // ---- tokens
  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& next() {
    const Token& token = tokens_[at_];
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool skipOperator(std::string_view op) {
    if (!current().isOperator(op)) return false;
    next();
    return true;
  }
  bool skipName(std::string_view name) {
    if (!current().isName(name)) return false;
    next();
    return true;
  }
  Error fail(const std::string& message, ErrorCode code = ErrorCode::kInvalidInput) const { return templateError(current().line, message, code); }
  Error unsupported(int line, const std::string& what) const { return templateError(line, what + " is not supported", ErrorCode::kUnsupported); }
  Error expected(const std::string& what) const { return fail("expected " + what + ", got " + describe(current())); }
  Status expectOperator(std::string_view op) {
    if (!skipOperator(op)) return expected("'" + std::string(op) + "'");
    return {};
  }
  Result<std::string> expectName() {
    if (current().kind != TokenKind::kName) return expected("a name");
    return next().text;
  }
  Status expectKind(TokenKind kind, const char* what) {
    if (current().kind != kind) return expected(what);
    next();
    return {};
  }

  // ---- nodes
  Result<ExprPtr> finish(ExprPtr node) {
    auto raise = [&](const ExprPtr& child) {
      if (child) node->height = std::max(node->height, child->height + 1);
    };
    for (const auto& child : node->operands) raise(child);
    for (const auto& child : node->arguments.positional) raise(child);
    for (const auto& child : node->arguments.named) raise(child.second);
    if (node->height > kMaxTreeHeight) return templateError(node->line, "an expression is nested deeper than " + std::to_string(kMaxTreeHeight) + " levels");
    return node;
  }
  static ExprPtr make(ExprKind kind, int line) {
    auto node = std::make_unique<Expr>();
    node->kind = kind;
    node->line = line;
    return node;
  }
  template <class... Operands>
  Result<ExprPtr> make(ExprKind kind, int line, Operands... operands) {
    ExprPtr node = make(kind, line);
    (node->operands.push_back(std::move(operands)), ...);
    return finish(std::move(node));
  }
  static std::unique_ptr<Stmt> makeStmt(StmtKind kind, int line) {
    auto node = std::make_unique<Stmt>();
    node->kind = kind;
    node->line = line;
    return node;
  }

  // ---- statements
  /// Up to one of `ends` (its tag is current afterwards) or, without ends, to the end of the template.
  Result<Body> parseBody(const Names& ends) {
    Level level(depth_);
    EXO_TRY(checkDepth());
    Body body;
    while (current().kind != TokenKind::kEnd) {
      if (current().kind == TokenKind::kText) {
        auto text = makeStmt(StmtKind::kText, current().line);
        text->text = next().text;
        body.push_back(std::move(text));
      } else if (current().kind == TokenKind::kVariableBegin) {
        EXO_ASSIGN(auto output, parseOutput());
        body.push_back(std::move(output));
      } else {
        EXO_TRY(expectKind(TokenKind::kBlockBegin, "text or a tag"));
        if (isAnyOf(ends)) return body;
        EXO_ASSIGN(auto statement, parseStatement(ends));
        body.push_back(std::move(statement));
        EXO_TRY(expectKind(TokenKind::kBlockEnd, "'%}'"));
      }
    }
    if (!ends.empty()) return fail("the template ends where " + listOf(ends) + " was expected");
    return body;
  }
  bool isAnyOf(const Names& names) const {
    return std::any_of(names.begin(), names.end(), [&](std::string_view name) { return current().isName(name); });
  }
  static std::string listOf(const Names& names) {
    std::string out;
    for (std::string_view name : names) out += (out.empty() ? "'" : " or '") + std::string(name) + "'";
    return out;
  }

  Result<std::unique_ptr<Stmt>> parseOutput() {
    auto output = makeStmt(StmtKind::kOutput, next().line);
    EXO_ASSIGN(ExprPtr value, parseTuple({}));
    output->exprs.push_back(std::move(value));
    EXO_TRY(expectKind(TokenKind::kVariableEnd, "'}}'"));
    return output;
  }

  Result<std::unique_ptr<Stmt>> parseStatement(const Names& ends) {
    if (current().kind != TokenKind::kName) return expected("the name of a tag");
    int line = current().line;
    std::string tag = current().text;
    next();
    if (tag == "if") return parseIf(line);
    if (tag == "for") return parseFor(line);
    if (tag == "set") return parseSet(line);
    if (tag == "macro") return parseMacro(line);
    if (tag == "call") return parseCallBlock(line);
    if (tag == "filter") return parseFilterBlock(line);
    if (tag == "with") return parseWith(line);
    if (tag == "generation") return parseGeneration(line);
    if (tag == "print") return parsePrint(line);
    if (tag == "break" || tag == "continue") {
      if (loop_depth_ == 0) return templateError(line, "'" + tag + "' outside of a loop");
      return makeStmt(tag == "break" ? StmtKind::kBreak : StmtKind::kContinue, line);
    }
    if (tag.starts_with("end") || tag == "else" || tag == "elif") {
      return templateError(line, "unexpected tag '" + tag + "'" + (ends.empty() ? "" : "; expected " + listOf(ends)));
    }
    return unsupported(line, "the tag '" + tag + "'");
  }

  Result<Body> parseBlock(const Names& ends) {
    skipOperator(":");
    EXO_TRY(expectKind(TokenKind::kBlockEnd, "'%}'"));
    return parseBody(ends);
  }
  /// A block with one end tag, which is consumed.
  Result<Body> parseWholeBlock(std::string_view end) {
    EXO_ASSIGN(Body body, parseBlock({end}));
    next();
    return body;
  }

  Result<std::unique_ptr<Stmt>> parseIf(int line) {
    auto node = makeStmt(StmtKind::kIf, line);
    while (true) {
      Branch branch;
      EXO_ASSIGN(branch.condition, parseTuple({}, false));
      EXO_ASSIGN(branch.body, parseBlock({"elif", "else", "endif"}));
      node->branches.push_back(std::move(branch));
      std::string tag = next().text;
      if (tag == "endif") return node;
      if (tag == "elif") continue;
      Branch otherwise;
      EXO_ASSIGN(otherwise.body, parseWholeBlock("endif"));
      node->branches.push_back(std::move(otherwise));
      return node;
    }
  }

  Result<std::unique_ptr<Stmt>> parseFor(int line) {
    auto node = makeStmt(StmtKind::kFor, line);
    EXO_ASSIGN(ExprPtr target, parseTarget({"in"}));
    if (target->kind == ExprKind::kName && target->name == "loop") return templateError(line, "cannot assign to 'loop' in a for loop");
    node->targets.push_back(std::move(target));
    if (!skipName("in")) return expected("'in'");
    EXO_ASSIGN(ExprPtr iterated, parseTuple({"recursive", "if"}, false));
    node->exprs.push_back(std::move(iterated));
    if (skipName("if")) {
      EXO_ASSIGN(node->filter, parseExpression());
    }
    if (current().isName("recursive")) return unsupported(line, "a recursive loop");
    ++loop_depth_;
    auto body = parseBlock({"endfor", "else"});
    --loop_depth_;
    EXO_ASSIGN(node->body, std::move(body));
    if (next().text == "else") {
      EXO_ASSIGN(node->otherwise, parseWholeBlock("endfor"));
    }
    return node;
  }

  Result<std::unique_ptr<Stmt>> parseSet(int line) {
    EXO_ASSIGN(ExprPtr target, parseSetTarget());
    if (skipOperator("=")) {
      auto node = makeStmt(StmtKind::kSet, line);
      node->targets.push_back(std::move(target));
      EXO_ASSIGN(ExprPtr value, parseTuple({}));
      node->exprs.push_back(std::move(value));
      return node;
    }
    auto node = makeStmt(StmtKind::kSetBlock, line);
    node->targets.push_back(std::move(target));
    if (current().isOperator("|")) {
      EXO_ASSIGN(ExprPtr filter, parseFilters(make(ExprKind::kCaptured, line)));
      node->exprs.push_back(std::move(filter));
    }
    EXO_ASSIGN(node->body, parseWholeBlock("endset"));
    return node;
  }

  Result<std::unique_ptr<Stmt>> parseMacro(int line) {
    auto node = makeStmt(StmtKind::kMacro, line);
    EXO_ASSIGN(node->text, expectName());
    EXO_TRY(parseSignature(node->signature));
    EXO_ASSIGN(node->body, parseMacroBody(node->signature, "endmacro"));
    return node;
  }

  Result<Body> parseMacroBody(Signature& signature, std::string_view end) {
    int loops = std::exchange(loop_depth_, 0);
    signatures_.push_back(&signature);
    auto body = parseWholeBlock(end);
    signatures_.pop_back();
    loop_depth_ = loops;
    return body;
  }

  Status parseSignature(Signature& signature) {
    EXO_TRY(expectOperator("("));
    while (!current().isOperator(")")) {
      if (!signature.parameters.empty()) EXO_TRY(expectOperator(","));
      EXO_ASSIGN(std::string parameter, expectName());
      signature.parameters.push_back(std::move(parameter));
      if (skipOperator("=")) {
        EXO_ASSIGN(ExprPtr value, parseExpression());
        signature.defaults.push_back(std::move(value));
      } else if (!signature.defaults.empty()) {
        return fail("a parameter without default follows one with a default");
      }
    }
    return expectOperator(")");
  }

  Result<std::unique_ptr<Stmt>> parseCallBlock(int line) {
    auto node = makeStmt(StmtKind::kCallBlock, line);
    if (current().isOperator("(")) EXO_TRY(parseSignature(node->signature));
    EXO_ASSIGN(ExprPtr call, parseExpression());
    if (call->kind != ExprKind::kCall) return templateError(line, "expected a call after 'call'");
    node->exprs.push_back(std::move(call));
    EXO_ASSIGN(node->body, parseMacroBody(node->signature, "endcall"));
    return node;
  }

  Result<std::unique_ptr<Stmt>> parseFilterBlock(int line) {
    auto node = makeStmt(StmtKind::kFilterBlock, line);
    EXO_ASSIGN(ExprPtr first, parseOneFilter(make(ExprKind::kCaptured, line)));
    EXO_ASSIGN(ExprPtr filter, parseFilters(std::move(first)));
    node->exprs.push_back(std::move(filter));
    EXO_ASSIGN(node->body, parseWholeBlock("endfilter"));
    return node;
  }

  Result<std::unique_ptr<Stmt>> parseWith(int line) {
    auto node = makeStmt(StmtKind::kWith, line);
    while (current().kind != TokenKind::kBlockEnd) {
      if (!node->targets.empty()) EXO_TRY(expectOperator(","));
      EXO_ASSIGN(ExprPtr target, parseTarget({}));
      node->targets.push_back(std::move(target));
      EXO_TRY(expectOperator("="));
      EXO_ASSIGN(ExprPtr value, parseExpression());
      node->exprs.push_back(std::move(value));
    }
    EXO_ASSIGN(node->body, parseWholeBlock("endwith"));
    return node;
  }

  Result<std::unique_ptr<Stmt>> parseGeneration(int line) {
    auto node = makeStmt(StmtKind::kGeneration, line);
    int loops = std::exchange(loop_depth_, 0);  // a function of its own in transformers, so break cannot leave it
    auto body = parseWholeBlock("endgeneration");
    loop_depth_ = loops;
    EXO_ASSIGN(node->body, std::move(body));
    return node;
  }

  Result<std::unique_ptr<Stmt>> parsePrint(int line) {
    auto node = makeStmt(StmtKind::kOutput, line);
    while (current().kind != TokenKind::kBlockEnd) {
      if (!node->exprs.empty()) EXO_TRY(expectOperator(","));
      EXO_ASSIGN(ExprPtr value, parseExpression());
      node->exprs.push_back(std::move(value));
    }
    return node;
  }

  // ---- targets
  Result<ExprPtr> parseSetTarget() {
    if (current().kind != TokenKind::kName || !ahead().isOperator(".")) return parseTarget({});
    ExprPtr node = make(ExprKind::kField, current().line);
    node->name = next().text;
    next();
    EXO_ASSIGN(node->field, expectName());
    return node;
  }

  Result<ExprPtr> parseTarget(const Names& ends) {
    EXO_ASSIGN(ExprPtr target, parseTuple(ends, true, true));
    EXO_TRY(checkTarget(*target));
    return target;
  }
  Status checkTarget(const Expr& target) const {
    if (target.kind == ExprKind::kName) return {};
    if (target.kind != ExprKind::kTuple) return templateError(target.line, std::string("cannot assign to ") + name(target.kind));
    for (const auto& element : target.operands) EXO_TRY(checkTarget(*element));
    return {};
  }

  // ---- expressions
  bool isTupleEnd(const Names& ends) const {
    return current().kind == TokenKind::kVariableEnd || current().kind == TokenKind::kBlockEnd || current().isOperator(")") || isAnyOf(ends);
  }

  /// One expression, or several with commas between: a tuple. `ends` are names that end it.
  Result<ExprPtr> parseTuple(const Names& ends, bool allows_conditional = true, bool is_target = false, bool allows_empty = false) {
    ExprPtr tuple = make(ExprKind::kTuple, current().line);
    bool is_tuple = false;
    while (true) {
      if (!tuple->operands.empty()) EXO_TRY(expectOperator(","));
      if (isTupleEnd(ends)) break;
      auto element = is_target ? parsePrimary() : (allows_conditional ? parseExpression() : parseOr());
      EXO_ASSIGN(ExprPtr operand, std::move(element));
      tuple->operands.push_back(std::move(operand));
      if (!current().isOperator(",")) break;
      is_tuple = true;
    }
    if (!is_tuple && tuple->operands.size() == 1) return std::move(tuple->operands[0]);
    if (tuple->operands.empty() && !allows_empty) return expected("an expression");
    return finish(std::move(tuple));
  }

  Result<ExprPtr> parseExpression() {
    Level level(depth_);
    EXO_TRY(checkDepth());
    int line = current().line;
    EXO_ASSIGN(ExprPtr value, parseOr());
    while (skipName("if")) {
      EXO_ASSIGN(ExprPtr condition, parseOr());
      ExprPtr otherwise;
      if (skipName("else")) {
        EXO_ASSIGN(otherwise, parseExpression());
      }
      EXO_ASSIGN(value, make(ExprKind::kConditional, line, std::move(condition), std::move(value), std::move(otherwise)));
    }
    return value;
  }

  Result<ExprPtr> parseOr() {
    EXO_ASSIGN(ExprPtr left, parseAnd());
    while (current().isName("or")) {
      int line = next().line;
      EXO_ASSIGN(ExprPtr right, parseAnd());
      EXO_ASSIGN(left, make(ExprKind::kOr, line, std::move(left), std::move(right)));
    }
    return left;
  }

  Result<ExprPtr> parseAnd() {
    EXO_ASSIGN(ExprPtr left, parseNot());
    while (current().isName("and")) {
      int line = next().line;
      EXO_ASSIGN(ExprPtr right, parseNot());
      EXO_ASSIGN(left, make(ExprKind::kAnd, line, std::move(left), std::move(right)));
    }
    return left;
  }

  Result<ExprPtr> parseNot() {
    if (!current().isName("not")) return parseCompare();
    Level level(depth_);
    EXO_TRY(checkDepth());
    int line = next().line;
    EXO_ASSIGN(ExprPtr operand, parseNot());
    return make(ExprKind::kNot, line, std::move(operand));
  }

  bool takeComparison(Comparison& comparison) {
    static constexpr std::pair<std::string_view, Comparison> kOperators[] = {
        {"==", Comparison::kEqual},     {"!=", Comparison::kNotEqual}, {"<", Comparison::kLess},
        {"<=", Comparison::kLessEqual}, {">", Comparison::kGreater},   {">=", Comparison::kGreaterEqual}};
    for (const auto& [text, value] : kOperators) {
      comparison = value;
      if (skipOperator(text)) return true;
    }
    comparison = Comparison::kIn;
    if (skipName("in")) return true;
    comparison = Comparison::kNotIn;
    if (!current().isName("not") || !ahead().isName("in")) return false;
    next();
    next();
    return true;
  }

  Result<ExprPtr> parseCompare() {
    int line = current().line;
    EXO_ASSIGN(ExprPtr first, parseSum());
    ExprPtr node = make(ExprKind::kCompare, line);
    node->operands.push_back(std::move(first));
    Comparison comparison;
    while (takeComparison(comparison)) {
      EXO_ASSIGN(ExprPtr operand, parseSum());
      node->operands.push_back(std::move(operand));
      node->comparisons.push_back(comparison);
    }
    if (node->comparisons.empty()) return std::move(node->operands[0]);
    return finish(std::move(node));
  }

  bool takeBinary(std::initializer_list<BinaryOp> ops, BinaryOp& taken) {
    for (BinaryOp op : ops) {
      taken = op;
      if (skipOperator(symbol(op))) return true;
    }
    return false;
  }
  Result<ExprPtr> parseBinary(std::initializer_list<BinaryOp> ops, Result<ExprPtr> (Parser::*parseOperand)()) {
    int line = current().line;
    EXO_ASSIGN(ExprPtr left, (this->*parseOperand)());
    BinaryOp op;
    while (takeBinary(ops, op)) {
      EXO_ASSIGN(ExprPtr right, (this->*parseOperand)());
      EXO_ASSIGN(left, make(ExprKind::kBinary, line, std::move(left), std::move(right)));
      left->op = op;
    }
    return left;
  }
  Result<ExprPtr> parseSum() { return parseBinary({BinaryOp::kAdd, BinaryOp::kSubtract}, &Parser::parseConcat); }
  Result<ExprPtr> parseProduct() {
    return parseBinary({BinaryOp::kMultiply, BinaryOp::kDivide, BinaryOp::kFloorDivide, BinaryOp::kModulo}, &Parser::parsePower);
  }
  Result<ExprPtr> parsePower() { return parseBinary({BinaryOp::kPower}, &Parser::parseFilteredUnary); }
  Result<ExprPtr> parseFilteredUnary() { return parseUnary(true); }

  Result<ExprPtr> parseConcat() {
    int line = current().line;
    EXO_ASSIGN(ExprPtr first, parseProduct());
    if (!current().isOperator("~")) return first;
    ExprPtr node = make(ExprKind::kConcat, line);
    node->operands.push_back(std::move(first));
    while (skipOperator("~")) {
      EXO_ASSIGN(ExprPtr operand, parseProduct());
      node->operands.push_back(std::move(operand));
    }
    return finish(std::move(node));
  }

  Result<ExprPtr> parseUnary(bool allows_filters) {
    Level level(depth_);
    EXO_TRY(checkDepth());
    ExprPtr node;
    if (current().isOperator("-") || current().isOperator("+")) {
      const Token& sign = next();
      ExprKind kind = sign.text == "-" ? ExprKind::kNegate : ExprKind::kPlus;
      int line = sign.line;
      EXO_ASSIGN(ExprPtr operand, parseUnary(false));
      EXO_ASSIGN(node, make(kind, line, std::move(operand)));
    } else {
      EXO_ASSIGN(node, parsePrimary());
    }
    EXO_ASSIGN(node, parsePostfix(std::move(node)));
    if (!allows_filters) return node;
    return parseFiltersAndTests(std::move(node));
  }

  Result<ExprPtr> parsePrimary() {
    const Token& token = current();
    switch (token.kind) {
      case TokenKind::kName: return parseName();
      case TokenKind::kString: return parseStrings();
      case TokenKind::kInteger: return constant(next().line, Value::integer(token.integer));
      case TokenKind::kFloat: return constant(next().line, Value::real(token.real));
      default: break;
    }
    Level level(depth_);
    EXO_TRY(checkDepth());
    if (skipOperator("(")) {
      EXO_ASSIGN(ExprPtr inner, parseTuple({}, true, false, true));
      EXO_TRY(expectOperator(")"));
      return inner;
    }
    if (token.isOperator("[")) return parseList();
    if (token.isOperator("{")) return parseDict();
    return expected("an expression");
  }

  Result<ExprPtr> constant(int line, Value value) {
    ExprPtr node = make(ExprKind::kConstant, line);
    node->constant = std::move(value);
    return node;
  }
  Result<ExprPtr> parseName() {
    const Token& token = next();
    const std::string& text = token.text;
    if (text == "true" || text == "True") return constant(token.line, Value::boolean(true));
    if (text == "false" || text == "False") return constant(token.line, Value::boolean(false));
    if (text == "none" || text == "None") return constant(token.line, Value());
    ExprPtr node = make(ExprKind::kName, token.line);
    node->name = text;
    for (Signature* signature : signatures_) {
      signature->uses_varargs |= text == "varargs";
      signature->uses_kwargs |= text == "kwargs";
      signature->uses_caller |= text == "caller";
    }
    return node;
  }
  Result<ExprPtr> parseStrings() {
    int line = current().line;
    std::string text;
    while (current().kind == TokenKind::kString) text += next().text;
    return constant(line, Value::string(std::move(text)));
  }
  Result<ExprPtr> parseList() {
    ExprPtr node = make(ExprKind::kList, next().line);
    while (!current().isOperator("]")) {
      if (!node->operands.empty()) EXO_TRY(expectOperator(","));
      if (current().isOperator("]")) break;
      EXO_ASSIGN(ExprPtr item, parseExpression());
      node->operands.push_back(std::move(item));
    }
    next();
    return finish(std::move(node));
  }
  Result<ExprPtr> parseDict() {
    ExprPtr node = make(ExprKind::kDict, next().line);
    while (!current().isOperator("}")) {
      if (!node->operands.empty()) EXO_TRY(expectOperator(","));
      if (current().isOperator("}")) break;
      EXO_ASSIGN(ExprPtr key, parseExpression());
      EXO_TRY(expectOperator(":"));
      EXO_ASSIGN(ExprPtr value, parseExpression());
      node->operands.push_back(std::move(key));
      node->operands.push_back(std::move(value));
    }
    next();
    return finish(std::move(node));
  }

  Result<ExprPtr> parsePostfix(ExprPtr node) {
    while (true) {
      if (current().isOperator(".")) {
        EXO_ASSIGN(node, parseAttribute(std::move(node)));
      } else if (current().isOperator("[")) {
        EXO_ASSIGN(node, parseSubscript(std::move(node)));
      } else if (current().isOperator("(")) {
        EXO_ASSIGN(node, parseCall(std::move(node)));
      } else {
        return node;
      }
    }
  }

  Result<ExprPtr> parseAttribute(ExprPtr object) {
    int line = next().line;
    if (current().kind == TokenKind::kInteger) {
      EXO_ASSIGN(ExprPtr index, constant(line, Value::integer(current().integer)));
      next();
      return make(ExprKind::kItem, line, std::move(object), std::move(index));
    }
    if (current().kind != TokenKind::kName) return expected("a name or number after '.'");
    std::string name = next().text;
    EXO_ASSIGN(ExprPtr node, make(ExprKind::kAttribute, line, std::move(object)));
    node->name = std::move(name);
    return node;
  }

  Result<ExprPtr> parseSubscript(ExprPtr object) {
    int line = next().line;
    ExprPtr bounds[3];
    int colons = 0;
    while (!current().isOperator("]")) {
      if (current().isOperator(",")) return unsupported(line, "a subscript with a comma");
      if (skipOperator(":")) {
        if (++colons > 2) return expected("']'");
        continue;
      }
      if (bounds[colons]) return expected("']'");
      EXO_ASSIGN(bounds[colons], parseExpression());
    }
    next();
    if (colons > 0) return make(ExprKind::kSlice, line, std::move(object), std::move(bounds[0]), std::move(bounds[1]), std::move(bounds[2]));
    if (!bounds[0]) return templateError(line, "expected an expression in '[]'");
    return make(ExprKind::kItem, line, std::move(object), std::move(bounds[0]));
  }

  Result<Arguments> parseArguments() {
    Arguments arguments;
    int line = next().line;
    bool needs_comma = false;
    while (!current().isOperator(")")) {
      if (needs_comma) EXO_TRY(expectOperator(","));
      if (current().isOperator(")")) break;
      needs_comma = true;
      if (current().isOperator("*") || current().isOperator("**")) return unsupported(line, "a call with " + current().text + "arguments");
      if (current().kind == TokenKind::kName && ahead().isOperator("=")) {
        std::string name = next().text;
        next();
        EXO_ASSIGN(ExprPtr value, parseExpression());
        for (const auto& earlier : arguments.named) {
          if (earlier.first == name) return templateError(line, "the argument '" + name + "' is given twice");
        }
        arguments.named.emplace_back(std::move(name), std::move(value));
      } else {
        if (!arguments.named.empty()) return fail("a positional argument follows a named one");
        EXO_ASSIGN(ExprPtr value, parseExpression());
        arguments.positional.push_back(std::move(value));
      }
    }
    next();
    return arguments;
  }

  Result<ExprPtr> parseCall(ExprPtr callee) {
    ExprPtr node = make(ExprKind::kCall, current().line);
    node->operands.push_back(std::move(callee));
    EXO_ASSIGN(node->arguments, parseArguments());
    return finish(std::move(node));
  }

  Result<ExprPtr> parseFiltersAndTests(ExprPtr node) {
    while (true) {
      if (current().isOperator("|")) {
        EXO_ASSIGN(node, parseFilters(std::move(node)));
      } else if (current().isName("is")) {
        EXO_ASSIGN(node, parseTest(std::move(node)));
      } else if (current().isOperator("(")) {
        EXO_ASSIGN(node, parseCall(std::move(node)));
      } else {
        return node;
      }
    }
  }

  Result<ExprPtr> parseFilters(ExprPtr node) {
    while (skipOperator("|")) {
      EXO_ASSIGN(node, parseOneFilter(std::move(node)));
    }
    return node;
  }

  Result<std::string> parseDottedName() {
    EXO_ASSIGN(std::string name, expectName());
    while (skipOperator(".")) {
      EXO_ASSIGN(std::string part, expectName());
      name += "." + part;
    }
    return name;
  }

  Result<ExprPtr> parseOneFilter(ExprPtr operand) {
    ExprPtr node = make(ExprKind::kFilter, current().line);
    node->operands.push_back(std::move(operand));
    EXO_ASSIGN(node->name, parseDottedName());
    if (current().isOperator("(")) {
      EXO_ASSIGN(node->arguments, parseArguments());
    }
    return finish(std::move(node));
  }

  bool startsTestArgument() const {
    const Token& token = current();
    bool is_value = token.kind == TokenKind::kName || token.kind == TokenKind::kString || token.kind == TokenKind::kInteger ||
                    token.kind == TokenKind::kFloat || token.isOperator("[") || token.isOperator("{");
    return is_value && !token.isName("else") && !token.isName("or") && !token.isName("and");
  }

  Result<ExprPtr> parseTest(ExprPtr operand) {
    int line = next().line;
    bool is_negated = skipName("not");
    ExprPtr node = make(ExprKind::kTest, line);
    node->operands.push_back(std::move(operand));
    EXO_ASSIGN(node->name, parseDottedName());
    if (current().isOperator("(")) {
      EXO_ASSIGN(node->arguments, parseArguments());
    } else if (startsTestArgument()) {
      if (current().isName("is")) return fail("tests with 'is' cannot be chained");
      EXO_ASSIGN(ExprPtr primary, parsePrimary());
      EXO_ASSIGN(ExprPtr argument, parsePostfix(std::move(primary)));
      node->arguments.positional.push_back(std::move(argument));
    }
    EXO_ASSIGN(node, finish(std::move(node)));
    if (!is_negated) return node;
    return make(ExprKind::kNot, line, std::move(node));
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int loop_depth_ = 0;
  std::vector<Signature*> signatures_;  // of the macros around the current token
};

}  // namespace

Result<Body> parseTemplate(std::string_view source) {
  EXO_ASSIGN(std::vector<Token> tokens, tokenize(source));
  return Parser(std::move(tokens)).run();
}

}  // namespace exo::jinja
