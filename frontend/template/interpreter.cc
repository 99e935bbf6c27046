// The tree walk. Scopes are Jinja's: the template, each pass of a loop, each macro call, and each with, filter, set and
// generation block has its own; `if` has none. Names are looked up outwards, a macro's from where it was defined. A scope a macro
// was defined in outlives its block until the rendering ends, because the macro may be kept in a namespace.
#include "frontend/template/interpreter.h"

#include <algorithm>

#include "frontend/template/builtins.h"
#include "frontend/template/lexer.h"
#include "frontend/template/operators.h"

namespace exo::jinja {

namespace {

struct Scope;

/// The `loop` variable of one running loop.
struct Loop {
  const std::vector<Value>& items;
  size_t index = 0;
  std::optional<Value> changed;
};

}  // namespace

struct Macro {
  std::string name;
  const Signature* signature;
  const Body* body;
  void* scope;  // Scope*: where it was defined
};

namespace {

struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<std::string_view, Value>> variables;  // names live in the tree, or in the caller's variables
  Loop* loop = nullptr;
  bool is_captured = false;
};

enum class Flow : uint8_t { kNext, kBreak, kContinue };

constexpr int64_t kMaxRange = 100000;  // Jinja's sandbox has the same

class Interpreter {
 public:
  explicit Interpreter(const RenderSettings& settings) : settings_(settings), budget_(settings.budget) {}

  Result<QuotedText> run(const Body& body, const std::vector<std::pair<std::string, Value>>& variables) {
    for (const auto& [name, value] : variables) root_.variables.emplace_back(name, value);
    scope_ = &root_;
    QuotedText out;
    out_ = &out;
    EXO_TRY(executeBody(body));
    return out;
  }

 private:
  // ---- bookkeeping

  /// Counts the nesting of what is being evaluated.
  struct Level {
    explicit Level(int& depth) : depth(depth) { ++depth; }
    ~Level() { --depth; }
    int& depth;
  };

  /// Makes a scope current; its end restores the one before.
  class ScopeGuard {
   public:
    ScopeGuard(Interpreter& interpreter, Scope* parent) : interpreter_(interpreter), saved_(interpreter.scope_), scope_(std::make_unique<Scope>()) {
      scope_->parent = parent;
      interpreter_.scope_ = scope_.get();
    }
    explicit ScopeGuard(Interpreter& interpreter) : ScopeGuard(interpreter, interpreter.scope_) {}
    ~ScopeGuard() {
      interpreter_.scope_ = saved_;
      scope_->loop = nullptr;
      if (scope_->is_captured) interpreter_.captured_scopes_.push_back(std::move(scope_));
    }
    Scope* operator->() { return scope_.get(); }

   private:
    Interpreter& interpreter_;
    Scope* saved_;
    std::unique_ptr<Scope> scope_;
  };

  /// Sends output to a text of its own.
  class Capture {
   public:
    explicit Capture(Interpreter& interpreter) : interpreter_(interpreter), saved_(interpreter.out_) { interpreter_.out_ = &text_; }
    ~Capture() { interpreter_.out_ = saved_; }
    QuotedText take() { return std::move(text_); }

   private:
    Interpreter& interpreter_;
    QuotedText* saved_;
    QuotedText text_;
  };

  Error at(int line, const Error& error) const { return templateError(line, error.message(), error.code()); }
  template <class T>
  Result<T> located(int line, Result<T> result) const {
    if (!result.ok()) return at(line, result.error());
    if (budget_.exhausted()) return at(line, budget_.check().error());
    return result;
  }
  Status located(int line, const Status& status) const {
    if (!status.ok()) return at(line, status.error());
    return {};
  }
  Status step(int line) {
    if (budget_.spend(1) && depth_ <= settings_.max_depth) return {};
    if (budget_.exhausted()) return located(line, budget_.check());
    return templateError(line, "evaluation is nested deeper than " + std::to_string(settings_.max_depth) + " levels", ErrorCode::kDoesNotFit);
  }
  Status allowOutput(int line, size_t bytes) {
    const size_t total = out_->sizeBytes() + bytes;
    return located(line, budget_.allow(total <= budget_.maxBytes() ? bytes : total));
  }
  Status write(int line, std::string_view text) {
    EXO_TRY(allowOutput(line, text.size()));
    *out_ += text;
    return {};
  }

  // ---- names

  const Value* findVariable(std::string_view name) const {
    for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
      for (auto variable = scope->variables.rbegin(); variable != scope->variables.rend(); ++variable) {
        if (variable->first == name) return &variable->second;
      }
    }
    return nullptr;
  }
  Loop* findLoop() const {
    for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
      if (scope->loop != nullptr) return scope->loop;
    }
    return nullptr;
  }
  /// The loop, if `expr` is the name `loop` inside one.
  Loop* loopOf(const Expr& expr) const { return expr.kind == ExprKind::kName && expr.name == "loop" ? findLoop() : nullptr; }

  void setVariable(std::string_view name, Value value) {
    for (auto& [known, old] : scope_->variables) {
      if (known == name) {
        old = std::move(value);
        return;
      }
    }
    scope_->variables.emplace_back(name, std::move(value));
  }

  Result<Value> evaluateName(const Expr& expr) {
    if (loopOf(expr) != nullptr) return templateError(expr.line, "the loop itself is not supported as a value; use loop.index and so on", ErrorCode::kUnsupported);
    if (const Value* found = findVariable(expr.name)) return *found;
    for (std::string_view known : {"range", "dict", "namespace", "raise_exception", "strftime_now"}) {
      if (expr.name == known) return Value::callable(expr.name);
    }
    for (std::string_view other : {"lipsum", "cycler", "joiner", "self"}) {
      if (expr.name == other) return templateError(expr.line, "the global '" + expr.name + "' is not supported", ErrorCode::kUnsupported);
    }
    return Value::undefined("'" + expr.name + "' is undefined");
  }

  // ---- statements

  Result<Flow> executeBody(const Body& body) {
    Level level(depth_);
    for (const auto& statement : body) {
      EXO_TRY(step(statement->line));
      EXO_ASSIGN(Flow flow, execute(*statement));
      if (flow != Flow::kNext) return flow;
    }
    return Flow::kNext;
  }

  static Result<Flow> done(const Status& status) {
    if (!status.ok()) return status.error();
    return Flow::kNext;
  }

  Result<Flow> execute(const Stmt& statement) {
    switch (statement.kind) {
      case StmtKind::kText: return done(write(statement.line, statement.text));
      case StmtKind::kOutput: return done(executeOutput(statement));
      case StmtKind::kIf: return executeIf(statement);
      case StmtKind::kFor: return executeFor(statement);
      case StmtKind::kSet: return done(executeSet(statement));
      case StmtKind::kSetBlock: return executeSetBlock(statement);
      case StmtKind::kMacro: return done(executeMacro(statement));
      case StmtKind::kCallBlock: return done(executeCallBlock(statement));
      case StmtKind::kFilterBlock: return executeFilterBlock(statement);
      case StmtKind::kWith: return executeWith(statement);
      case StmtKind::kGeneration: {
        ScopeGuard scope(*this);
        return executeBody(statement.body);
      }
      case StmtKind::kBreak: return Flow::kBreak;
      case StmtKind::kContinue: return Flow::kContinue;
    }
    return Flow::kNext;
  }

  Status executeOutput(const Stmt& statement) {
    for (const auto& expr : statement.exprs) {
      EXO_ASSIGN(Value value, evaluate(*expr));
      EXO_TRY(print(expr->line, value));
    }
    return {};
  }
  Status print(int line, const Value& value) {
    EXO_ASSIGN(const QuotedText text, located(line, toQuotedText(value, budget_)));
    EXO_TRY(allowOutput(line, text.sizeBytes()));
    *out_ += text;
    return {};
  }

  Result<Flow> executeIf(const Stmt& statement) {
    for (const Branch& branch : statement.branches) {
      if (branch.condition) {
        EXO_ASSIGN(Value condition, evaluate(*branch.condition));
        if (!condition.truth()) continue;
      }
      return executeBody(branch.body);
    }
    return Flow::kNext;
  }

  Result<std::vector<Value>> loopItems(const Stmt& statement) {
    EXO_ASSIGN(Value iterated, evaluate(*statement.exprs[0]));
    EXO_ASSIGN(auto items, located(statement.line, iterate(iterated, budget_)));
    if (!statement.filter) return items;
    std::vector<Value> kept;
    for (Value& item : items) {
      ScopeGuard scope(*this);
      EXO_TRY(step(statement.line));
      EXO_TRY(assign(*statement.targets[0], item));
      EXO_ASSIGN(Value passes, evaluate(*statement.filter));
      if (passes.truth()) kept.push_back(std::move(item));
    }
    return kept;
  }

  Result<Flow> executeFor(const Stmt& statement) {
    EXO_ASSIGN(auto items, loopItems(statement));
    if (items.empty()) {
      ScopeGuard scope(*this);
      return executeBody(statement.otherwise);
    }
    Loop loop{items, 0, std::nullopt};
    for (; loop.index < items.size(); ++loop.index) {
      EXO_TRY(step(statement.line));
      ScopeGuard scope(*this);
      scope->loop = &loop;
      EXO_TRY(assign(*statement.targets[0], items[loop.index]));
      EXO_ASSIGN(Flow flow, executeBody(statement.body));
      if (flow == Flow::kBreak) break;
    }
    return Flow::kNext;
  }

  Status assign(const Expr& target, const Value& value) {
    if (target.kind == ExprKind::kName) {
      setVariable(target.name, value);
      return {};
    }
    if (target.kind == ExprKind::kField) return assignField(target, value);
    EXO_ASSIGN(auto parts, located(target.line, iterate(value, budget_)));
    if (parts.size() != target.operands.size()) {
      return templateError(target.line, "expected " + std::to_string(target.operands.size()) + " values to unpack, got " + std::to_string(parts.size()));
    }
    for (size_t i = 0; i < parts.size(); ++i) EXO_TRY(assign(*target.operands[i], parts[i]));
    return {};
  }
  Status assignField(const Expr& target, const Value& value) {
    const Value* found = findVariable(target.name);
    if (found == nullptr) return templateError(target.line, "'" + target.name + "' is undefined");
    if (found->type() != Type::kNamespace) return templateError(target.line, "cannot assign attribute on non-namespace object");
    budget_.spend(found->asNamespace().fields.size() / 4);
    found->asNamespace().set(target.field, value);
    return {};
  }

  Status executeSet(const Stmt& statement) {
    EXO_ASSIGN(Value value, evaluate(*statement.exprs[0]));
    return assign(*statement.targets[0], value);
  }

  /// Runs a body in a scope of its own and gives what it printed.
  Result<QuotedText> capture(const Body& body, Flow& flow) {
    Capture text(*this);
    ScopeGuard scope(*this);
    EXO_ASSIGN(flow, executeBody(body));
    return text.take();
  }
  /// The filters of a block, applied to its text.
  Result<Value> filtered(const Stmt& statement, QuotedText text) {
    Value saved = std::exchange(captured_, Value::string(std::move(text)));
    auto result = statement.exprs.empty() ? Result<Value>(captured_) : evaluate(*statement.exprs[0]);
    captured_ = std::move(saved);
    return result;
  }

  Result<Flow> executeSetBlock(const Stmt& statement) {
    Flow flow = Flow::kNext;
    EXO_ASSIGN(QuotedText text, capture(statement.body, flow));
    if (flow != Flow::kNext) return flow;
    EXO_ASSIGN(Value value, filtered(statement, std::move(text)));
    return done(assign(*statement.targets[0], value));
  }

  Result<Flow> executeFilterBlock(const Stmt& statement) {
    Flow flow = Flow::kNext;
    EXO_ASSIGN(QuotedText text, capture(statement.body, flow));
    if (flow != Flow::kNext) return flow;
    EXO_ASSIGN(Value value, filtered(statement, std::move(text)));
    return done(print(statement.line, value));
  }

  Result<Flow> executeWith(const Stmt& statement) {
    std::vector<Value> values;
    for (const auto& expr : statement.exprs) {
      EXO_ASSIGN(Value value, evaluate(*expr));
      values.push_back(std::move(value));
    }
    ScopeGuard scope(*this);
    for (size_t i = 0; i < values.size(); ++i) EXO_TRY(assign(*statement.targets[i], values[i]));
    return executeBody(statement.body);
  }

  Value makeMacro(std::string name, const Signature& signature, const Body& body) {
    budget_.spend(16);  // it and its scope stay in memory until the end
    for (Scope* scope = scope_; scope != nullptr; scope = scope->parent) scope->is_captured = true;
    macros_.push_back(std::make_unique<Macro>(Macro{std::move(name), &signature, &body, scope_}));
    return Value::ofMacro(macros_.back().get());
  }

  Status executeMacro(const Stmt& statement) {
    setVariable(statement.text, makeMacro(statement.text, statement.signature, statement.body));
    return {};
  }

  Status executeCallBlock(const Stmt& statement) {
    const Expr& call = *statement.exprs[0];
    Value caller = makeMacro("caller", statement.signature, statement.body);
    EXO_ASSIGN(Value callee, evaluate(*call.operands[0]));
    EXO_ASSIGN(Call arguments, evaluateArguments("", Value(), call.arguments));
    arguments.named.emplace_back("caller", caller);
    EXO_ASSIGN(Value result, callValue(call.line, callee, arguments));
    return print(call.line, result);
  }

  // ---- calls

  Result<Call> evaluateArguments(std::string name, Value self, const Arguments& arguments) {
    Call call{std::move(name), std::move(self), {}, {}, budget_};
    for (const auto& expr : arguments.positional) {
      EXO_ASSIGN(Value value, evaluate(*expr));
      call.positional.push_back(std::move(value));
    }
    for (const auto& [key, expr] : arguments.named) {
      EXO_ASSIGN(Value value, evaluate(*expr));
      call.named.emplace_back(key, std::move(value));
    }
    return call;
  }

  Result<Value> callMacro(int line, const Macro& macro, Call& call) {
    Level level(depth_);
    EXO_TRY(step(line));
    const Signature& signature = *macro.signature;
    Capture text(*this);
    ScopeGuard scope(*this, static_cast<Scope*>(macro.scope));
    EXO_TRY(bindMacro(line, macro, call));
    EXO_TRY(bindExtras(line, signature, macro, call));
    EXO_TRY(executeBody(*macro.body));
    return Value::string(text.take());
  }

  /// Parameters in order: by position, by name, by default (which sees the parameters before it), else undefined.
  Status bindMacro(int line, const Macro& macro, Call& call) {
    const Signature& signature = *macro.signature;
    size_t num_required = signature.parameters.size() - signature.defaults.size();
    for (size_t i = 0; i < signature.parameters.size(); ++i) {
      const std::string& parameter = signature.parameters[i];
      auto named = std::find_if(call.named.begin(), call.named.end(), [&](const auto& argument) { return argument.first == parameter; });
      if (i < call.positional.size()) {
        if (named != call.named.end()) return templateError(line, "the macro '" + macro.name + "' got the argument '" + parameter + "' twice");
        setVariable(parameter, call.positional[i]);
      } else if (named != call.named.end()) {
        setVariable(parameter, std::move(named->second));
        call.named.erase(named);
      } else if (i >= num_required) {
        EXO_ASSIGN(Value value, evaluate(*signature.defaults[i - num_required]));
        setVariable(parameter, std::move(value));
      } else {
        setVariable(parameter, Value::undefined("parameter '" + parameter + "' was not provided"));
      }
    }
    return {};
  }

  /// varargs, kwargs and caller, for the macros that use them.
  Status bindExtras(int line, const Signature& signature, const Macro& macro, Call& call) {
    auto caller = std::find_if(call.named.begin(), call.named.end(), [](const auto& argument) { return argument.first == "caller"; });
    bool has_parameter = std::find(signature.parameters.begin(), signature.parameters.end(), "caller") != signature.parameters.end();
    if (signature.uses_caller && !has_parameter) {
      setVariable("caller", caller == call.named.end() ? Value::undefined("No caller defined") : caller->second);
      if (caller != call.named.end()) call.named.erase(caller);
    }
    if (signature.uses_kwargs) {
      Dict rest;
      for (auto& [name, value] : call.named) rest.set(Value::string(name), std::move(value), budget_);
      EXO_ASSIGN(Value dict, located(line, Value::dict(std::move(rest))));
      setVariable("kwargs", std::move(dict));
    } else if (!call.named.empty()) {
      return templateError(line, "macro '" + macro.name + "' takes no keyword argument '" + call.named.front().first + "'");
    }
    std::vector<Value> rest;
    for (size_t i = signature.parameters.size(); i < call.positional.size(); ++i) rest.push_back(call.positional[i]);
    if (!signature.uses_varargs && !rest.empty()) {
      return templateError(line, "macro '" + macro.name + "' takes not more than " + std::to_string(signature.parameters.size()) + " argument(s)");
    }
    if (signature.uses_varargs) {
      EXO_ASSIGN(Value tuple, located(line, Value::tuple(std::move(rest))));
      setVariable("varargs", std::move(tuple));
    }
    return {};
  }

  Result<Value> callValue(int line, const Value& callee, Call& call) {
    if (callee.type() == Type::kMacro) return callMacro(line, callee.asMacro(), call);
    EXO_TRY(located(line, requireDefined(callee)));
    if (callee.type() != Type::kCallable) return templateError(line, "'" + typeName(callee) + "' object is not callable");
    const Callable& callable = callee.asCallable();
    call.name = callable.name;
    if (callable.receiver == nullptr) return located(line, callGlobal(call));
    call.self = *callable.receiver;
    return located(line, callMethod(call));
  }

  Result<Value> callGlobal(Call& call) {
    if (call.name == "raise_exception") {
      EXO_ASSIGN(Bound arguments, bind(call, {"message"}, 1));
      EXO_ASSIGN(std::string message, toText(*arguments[0], budget_));
      return invalid(message);
    }
    if (call.name == "range") return makeRange(call);
    if (call.name == "strftime_now") return formatNow(call);
    return call.name == "namespace" ? makeNamespace(call) : makeDict(call);
  }

  Result<Value> makeRange(Call& call) {
    EXO_ASSIGN(Bound arguments, bind(call, {"start", "stop", "step"}, 1));
    for (const auto& argument : arguments) {
      if (argument) EXO_TRY(requireDefined(*argument));
      if (argument && !argument->isIntegral()) return invalid("'", typeName(*argument), "' object cannot be interpreted as an integer");
    }
    int64_t start = arguments[1] ? arguments[0]->asInt() : 0;
    int64_t stop = arguments[1] ? arguments[1]->asInt() : arguments[0]->asInt();
    int64_t step = arguments[2] ? arguments[2]->asInt() : 1;
    if (step == 0) return invalid("range() arg 3 must not be zero");
    Sequence range{SequenceKind::kRange, {}};
    range.range_start = start;
    range.range_stop = stop;
    range.range_step = step;
    for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
      if (static_cast<int64_t>(range.items.size()) >= kMaxRange) return makeError(ErrorCode::kDoesNotFit, "a range may have at most ", kMaxRange, " elements");
      range.items.push_back(Value::integer(i));
      if (__builtin_add_overflow(i, step, &i)) break;
    }
    budget_.spend(range.items.size() / 4 + 1);
    return Value::sequence(std::move(range));
  }

  Result<Value> formatNow(Call& call) {
    EXO_ASSIGN(Bound arguments, bind(call, {"format"}, 1));
    if (!arguments[0]->isString()) return invalid("strftime_now() needs a str, got ", typeName(*arguments[0]));
    const std::string& format = arguments[0]->text();
    if (format.size() > 1000) return invalid("strftime_now() takes a format of at most 1000 bytes, got ", format.size());
    for (size_t i = format.find('%'); i != std::string::npos; i = format.find('%', i + 2)) {
      size_t letter = i + 1 < format.size() && format[i + 1] == '-' ? i + 2 : i + 1;
      if (letter >= format.size() || std::string_view("aAbBcdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%").find(format[letter]) == std::string_view::npos) {
        return makeError(ErrorCode::kUnsupported, "the strftime_now() format ", reprString(format), " is not supported");
      }
    }
    std::tm now = {};
    if (settings_.now) {
      now = *settings_.now;
    } else {
      std::time_t seconds = std::time(nullptr);
      localtime_r(&seconds, &now);
    }
    std::string out(64 * 1024, '\0');
    out.resize(std::strftime(out.data(), out.size(), format.c_str(), &now));
    return Value::string(std::move(out));
  }

  Result<Value> dictArgument(Call& call) {
    if (call.positional.size() > 1) return invalid(call.name, "() takes at most one positional argument, got ", call.positional.size());
    if (!call.positional.empty() && !call.positional[0].isDict()) {
      return makeError(ErrorCode::kUnsupported, call.name, "() of a ", typeName(call.positional[0]), " is not supported; only of a dict");
    }
    Dict dict;
    if (!call.positional.empty()) dict = call.positional[0].asDict();
    for (auto& [name, value] : call.named) dict.set(Value::string(name), value, budget_);
    budget_.spend(dict.entries.size());
    return Value::dict(std::move(dict));
  }
  Result<Value> makeDict(Call& call) { return dictArgument(call); }

  Result<Value> makeNamespace(Call& call) {
    EXO_ASSIGN(Value dict, dictArgument(call));
    namespaces_.push_back(std::make_unique<Namespace>());
    budget_.spend(8);  // it stays in memory until the end
    for (const auto& [key, value] : dict.asDict().entries) {
      if (!key.isString()) return invalid("namespace() needs str keys, got ", typeName(key));
      namespaces_.back()->fields.emplace_back(key.text(), value);
    }
    return Value::ofNamespace(namespaces_.back().get());
  }

  // ---- the loop variable

  Result<Value> loopAttribute(const Expr& expr, const Loop& loop) {
    auto index = static_cast<int64_t>(loop.index), size = static_cast<int64_t>(loop.items.size());
    const std::string& name = expr.name;
    if (name == "index0") return Value::integer(index);
    if (name == "index") return Value::integer(index + 1);
    if (name == "revindex0") return Value::integer(size - index - 1);
    if (name == "revindex") return Value::integer(size - index);
    if (name == "first") return Value::boolean(index == 0);
    if (name == "last") return Value::boolean(index + 1 == size);
    if (name == "length") return Value::integer(size);
    if (name == "depth0") return Value::integer(0);
    if (name == "depth") return Value::integer(1);
    if (name == "previtem") return index == 0 ? Value::undefined("there is no previous item") : loop.items[loop.index - 1];
    if (name == "nextitem") return index + 1 == size ? Value::undefined("there is no next item") : loop.items[loop.index + 1];
    return templateError(expr.line, "loop." + name + " is not supported", ErrorCode::kUnsupported);
  }

  Result<Value> callLoop(const Expr& expr, Loop& loop) {
    const std::string& name = expr.operands[0]->name;
    EXO_ASSIGN(Call call, evaluateArguments("loop." + name, Value(), expr.arguments));
    if (!call.named.empty()) return templateError(expr.line, call.name + "() takes no named arguments");
    if (name == "cycle") {
      if (call.positional.empty()) return templateError(expr.line, "no items for cycling given");
      return call.positional[loop.index % call.positional.size()];
    }
    if (name != "changed") return templateError(expr.line, "loop." + name + "() is not supported", ErrorCode::kUnsupported);
    EXO_ASSIGN(Value now, located(expr.line, Value::tuple(std::move(call.positional))));
    bool has_changed = !loop.changed || !equals(*loop.changed, now, budget_);
    loop.changed = std::move(now);
    return Value::boolean(has_changed);
  }

  // ---- expressions

  Result<Value> evaluate(const Expr& expr) {
    Level level(depth_);
    EXO_TRY(step(expr.line));
    switch (expr.kind) {
      case ExprKind::kConstant: return expr.constant;
      case ExprKind::kName: return evaluateName(expr);
      case ExprKind::kCaptured: return captured_;
      case ExprKind::kList:
      case ExprKind::kTuple: return evaluateSequence(expr);
      case ExprKind::kDict: return evaluateDict(expr);
      case ExprKind::kAttribute: return evaluateAttribute(expr);
      case ExprKind::kItem: return evaluateItem(expr);
      case ExprKind::kSlice: return evaluateSlice(expr);
      case ExprKind::kCall: return evaluateCall(expr);
      case ExprKind::kFilter: return evaluateFilter(expr);
      case ExprKind::kTest: return evaluateTest(expr);
      case ExprKind::kNot:
      case ExprKind::kNegate:
      case ExprKind::kPlus: return evaluateUnary(expr);
      case ExprKind::kBinary: return evaluateBinary(expr);
      case ExprKind::kConcat: return evaluateConcat(expr);
      case ExprKind::kAnd:
      case ExprKind::kOr: return evaluateLogic(expr);
      case ExprKind::kCompare: return evaluateCompare(expr);
      case ExprKind::kConditional: return evaluateConditional(expr);
      case ExprKind::kField: break;  // only a target
    }
    return templateError(expr.line, "an expression of an unknown kind");
  }

  Result<Value> evaluateSequence(const Expr& expr) {
    std::vector<Value> items;
    for (const auto& operand : expr.operands) {
      EXO_ASSIGN(Value item, evaluate(*operand));
      items.push_back(std::move(item));
    }
    return located(expr.line, expr.kind == ExprKind::kList ? Value::list(std::move(items)) : Value::tuple(std::move(items)));
  }

  Result<Value> evaluateDict(const Expr& expr) {
    Dict dict;
    for (size_t i = 0; i < expr.operands.size(); i += 2) {
      EXO_ASSIGN(Value key, evaluate(*expr.operands[i]));
      EXO_ASSIGN(Value value, evaluate(*expr.operands[i + 1]));
      if (!isHashable(key)) return templateError(expr.line, "unhashable type: '" + typeName(key) + "'");
      dict.set(std::move(key), std::move(value), budget_);
    }
    return located(expr.line, Value::dict(std::move(dict)));
  }

  Result<Value> evaluateAttribute(const Expr& expr) {
    if (Loop* loop = loopOf(*expr.operands[0])) return loopAttribute(expr, *loop);
    EXO_ASSIGN(Value object, evaluate(*expr.operands[0]));
    return located(expr.line, getAttribute(object, expr.name));
  }

  Result<Value> evaluateItem(const Expr& expr) {
    EXO_ASSIGN(Value object, evaluate(*expr.operands[0]));
    EXO_ASSIGN(Value key, evaluate(*expr.operands[1]));
    return located(expr.line, getItem(object, key, budget_));
  }

  Result<Value> evaluateSlice(const Expr& expr) {
    EXO_ASSIGN(Value object, evaluate(*expr.operands[0]));
    Value bounds[3];
    for (size_t i = 0; i < 3; ++i) {
      if (!expr.operands[i + 1]) continue;
      EXO_ASSIGN(bounds[i], evaluate(*expr.operands[i + 1]));
    }
    return located(expr.line, slice(object, &bounds[0], &bounds[1], &bounds[2], budget_));
  }

  Result<Value> evaluateCall(const Expr& expr) {
    const Expr& target = *expr.operands[0];
    if (target.kind == ExprKind::kAttribute) {
      if (Loop* loop = loopOf(*target.operands[0])) return callLoop(expr, *loop);
    }
    if (loopOf(target) != nullptr) return templateError(expr.line, "a recursive loop is not supported", ErrorCode::kUnsupported);
    EXO_ASSIGN(Value callee, evaluate(target));
    EXO_ASSIGN(Call call, evaluateArguments("", Value(), expr.arguments));
    return callValue(expr.line, callee, call);
  }

  Result<Value> evaluateFilter(const Expr& expr) {
    EXO_ASSIGN(Value self, evaluate(*expr.operands[0]));
    EXO_ASSIGN(Call call, evaluateArguments(expr.name, std::move(self), expr.arguments));
    return located(expr.line, applyFilter(call));
  }

  Result<Value> evaluateTest(const Expr& expr) {
    bool is_loop = loopOf(*expr.operands[0]) != nullptr && (expr.name == "defined" || expr.name == "undefined");
    if (is_loop) return Value::boolean(expr.name == "defined");
    EXO_ASSIGN(Value self, evaluate(*expr.operands[0]));
    EXO_ASSIGN(Call call, evaluateArguments(expr.name, std::move(self), expr.arguments));
    EXO_ASSIGN(bool passed, located(expr.line, applyTest(call)));
    return Value::boolean(passed);
  }

  Result<Value> evaluateUnary(const Expr& expr) {
    EXO_ASSIGN(Value operand, evaluate(*expr.operands[0]));
    if (expr.kind == ExprKind::kNot) return Value::boolean(!operand.truth());
    return located(expr.line, expr.kind == ExprKind::kNegate ? negate(operand) : unaryPlus(operand));
  }

  Result<Value> evaluateBinary(const Expr& expr) {
    EXO_ASSIGN(Value left, evaluate(*expr.operands[0]));
    EXO_ASSIGN(Value right, evaluate(*expr.operands[1]));
    return located(expr.line, applyBinary(expr.op, left, right, budget_));
  }

  Result<Value> evaluateConcat(const Expr& expr) {
    QuotedText text;
    for (const auto& operand : expr.operands) {
      EXO_ASSIGN(Value value, evaluate(*operand));
      EXO_ASSIGN(const QuotedText part, located(expr.line, toQuotedText(value, budget_)));
      EXO_TRY(located(expr.line, budget_.allow(text.sizeBytes() + part.sizeBytes())));
      text += part;
    }
    return Value::string(std::move(text));
  }

  Result<Value> evaluateLogic(const Expr& expr) {
    EXO_ASSIGN(Value left, evaluate(*expr.operands[0]));
    if (left.truth() == (expr.kind == ExprKind::kOr)) return left;
    return evaluate(*expr.operands[1]);
  }

  Result<Value> evaluateCompare(const Expr& expr) {
    EXO_ASSIGN(Value left, evaluate(*expr.operands[0]));
    for (size_t i = 0; i < expr.comparisons.size(); ++i) {
      EXO_ASSIGN(Value right, evaluate(*expr.operands[i + 1]));
      EXO_ASSIGN(bool holds, located(expr.line, applyComparison(expr.comparisons[i], left, right, budget_)));
      if (!holds) return Value::boolean(false);
      left = std::move(right);
    }
    return Value::boolean(true);
  }

  Result<Value> evaluateConditional(const Expr& expr) {
    EXO_ASSIGN(Value condition, evaluate(*expr.operands[0]));
    if (condition.truth()) return evaluate(*expr.operands[1]);
    if (expr.operands[2]) return evaluate(*expr.operands[2]);
    return Value::undefined("the inline if-expression on line " + std::to_string(expr.line) + " evaluated to false and no else section was defined.");
  }

  const RenderSettings& settings_;
  Budget& budget_;
  int depth_ = 0;
  Value captured_;  // the text of the filter or set block whose filters run
  QuotedText* out_ = nullptr;
  Scope* scope_ = nullptr;
  Scope root_;
  std::vector<std::unique_ptr<Scope>> captured_scopes_;
  std::vector<std::unique_ptr<Macro>> macros_;
  std::vector<std::unique_ptr<Namespace>> namespaces_;
};

}  // namespace

Result<QuotedText> renderTemplate(const Body& body, std::vector<std::pair<std::string, Value>> variables, const RenderSettings& settings) {
  return Interpreter(settings).run(body, variables);
}

}  // namespace exo::jinja
