#include "launch/commands/flags.h"

#include <gflags/gflags.h>
#include <glog/logging.h>

#include <algorithm>
#include <cctype>
#include <iostream>
#include <vector>

#include "common/config/suggest.h"

DEFINE_string(config, "", "JOB: the job file");
DEFINE_string(run_dir, "", "FOLDER: where checkpoints, metrics and logs of the run are kept");
DEFINE_string(set, "", "PATH=VALUE: overrides a field of the job; may be given several times");
DEFINE_string(format, "table",
              "FORMAT: of the result: table for people, json or csv exact for programs");
DEFINE_int32(ps, 1, "N: how many parameter servers; for `cairn ps`, which one this is, from 0");
DEFINE_int32(workers, 1, "N: how many workers");
DEFINE_bool(verbose, false, "log what happens inside, on stderr");

namespace cairn::launch {
namespace {

constexpr std::string_view kRepeated = "set";

std::vector<std::string>& MutableOverrides() {
  static std::vector<std::string> overrides;
  return overrides;
}

// The flags that a command takes: its own and those of all commands.
std::vector<std::string> FlagNames(const Usage& usage) {
  std::vector<std::string> names(usage.flags.begin(), usage.flags.end());
  names.push_back("verbose");
  return names;
}

google::CommandLineFlagInfo InfoOf(const std::string& name) {
  google::CommandLineFlagInfo info;
  CHECK(google::GetCommandLineFlagInfo(name.c_str(), &info)) << "no flag is defined as " << name;
  return info;
}

// "JOB: the job file" -> {"JOB", "the job file"}; a description without a value's name gets its
// type.
std::pair<std::string, std::string> SplitDescription(const google::CommandLineFlagInfo& info) {
  const std::string& text = info.description;
  const std::size_t colon = text.find(": ");
  const auto is_name = [](char c) {
    return std::isupper(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '=' || c == '|' ||
           std::isdigit(static_cast<unsigned char>(c)) != 0;
  };
  if (colon != std::string::npos && colon > 0 &&
      std::all_of(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(colon), is_name)) {
    return {text.substr(0, colon), text.substr(colon + 2)};
  }
  return {info.type == "string" ? "TEXT" : "NUMBER", text};
}

// gflags keeps doubles with 17 digits: 1.1000000000000001 is shown as 1.1.
std::string ShownDefault(const google::CommandLineFlagInfo& info) {
  return info.type == "double" ? StrCat(std::stod(info.default_value)) : info.default_value;
}

void PrintHelp(const Usage& usage) {
  std::cout << "Examples:\n" << usage.examples << "\nUsage: " << usage.command;
  if (!usage.arguments.empty()) std::cout << " " << usage.arguments;
  std::cout << " [flags]\n" << usage.summary << "\nFlags:\n";
  for (const std::string& name : FlagNames(usage)) {
    const google::CommandLineFlagInfo info = InfoOf(name);
    const auto [value, text] = SplitDescription(info);
    std::string left = StrCat("  --", name);
    if (info.type != "bool") StrAppend(left, "=", value);
    constexpr std::size_t kColumn = 26;
    left.append(left.size() < kColumn ? kColumn - left.size() : 2, ' ');
    std::cout << left << text;
    if (!info.default_value.empty()) std::cout << " (default: " << ShownDefault(info) << ")";
    std::cout << "\n";
  }
  std::cout << "  --help                  print this\n" << std::flush;
}

struct Word {
  std::string name;  // with "_" for "-"
  std::optional<std::string> value;
};

// "--a-b=c" -> {a_b, c}. Empty for what is no flag: "-", "-3", "text".
std::optional<Word> FlagOf(std::string_view argument) {
  if (argument.size() < 2 || argument[0] != '-') return std::nullopt;
  if (std::isdigit(static_cast<unsigned char>(argument[1])) != 0) return std::nullopt;
  argument.remove_prefix(argument[1] == '-' ? 2 : 1);
  const std::size_t equals = argument.find('=');
  Word word{std::string(argument.substr(0, equals)), std::nullopt};
  std::replace(word.name.begin(), word.name.end(), '-', '_');
  if (equals != std::string_view::npos) word.value = std::string(argument.substr(equals + 1));
  return word;
}

class FlagParser {
 public:
  explicit FlagParser(const Usage& usage) : usage_(usage), names_(FlagNames(usage)) {}

  std::optional<int> Parse(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      const std::string_view argument = argv[i];
      if (argument == "--") {
        positional_.insert(positional_.end(), argv + i + 1, argv + argc);
        break;
      }
      std::optional<Word> word = FlagOf(argument);
      if (!word.has_value()) {
        positional_.push_back(argv[i]);
        continue;
      }
      if (word->name == "help" || word->name == "h") {
        PrintHelp(usage_);
        return 0;
      }
      if (const auto code = Resolve(argument, &*word)) return code;
      if (!word->value.has_value()) {
        if (i + 1 == argc || std::string_view(argv[i + 1]).starts_with("--")) {
          return UsageError(usage_, StrCat("--", word->name, " needs a value"));
        }
        word->value = argv[++i];
      }
      if (const auto code = Set(*word)) return code;
    }
    if (usage_.arguments.empty() && !positional_.empty()) {
      return UsageError(usage_, StrCat("cannot make sense of \"", positional_.front(), "\""));
    }
    return std::nullopt;
  }

  const std::vector<char*>& positional() const { return positional_; }

 private:
  bool IsKnown(const std::string& name) const {
    return std::find(names_.begin(), names_.end(), name) != names_.end();
  }

  // Finds the flag, and the value of a boolean one that has none.
  std::optional<int> Resolve(std::string_view argument, Word* word) {
    if (IsKnown(word->name)) {
      if (!word->value.has_value() && InfoOf(word->name).type == "bool") word->value = "true";
      return std::nullopt;
    }
    for (const std::string_view prefix : {"no_", "no"}) {
      if (!word->name.starts_with(prefix) || word->value.has_value()) continue;
      const std::string positive = word->name.substr(prefix.size());
      if (!IsKnown(positive) || InfoOf(positive).type != "bool") continue;
      *word = {positive, "false"};
      return std::nullopt;
    }
    std::vector<std::string> known = names_;
    known.push_back("help");
    const std::string_view near = NearestName(word->name, known);
    return UsageError(usage_,
                      StrCat("no flag \"", argument.substr(0, argument.find('=')), "\"",
                             near.empty() ? "" : StrCat("; did you mean \"--", near, "\"?")));
  }

  std::optional<int> Set(const Word& word) {
    if (word.name == kRepeated) {
      MutableOverrides().push_back(*word.value);
      return std::nullopt;
    }
    if (google::SetCommandLineOption(word.name.c_str(), word.value->c_str()).empty()) {
      return UsageError(usage_, StrCat("--", word.name, " cannot be \"", *word.value,
                                       "\": it takes a value of type ", InfoOf(word.name).type));
    }
    return std::nullopt;
  }

  const Usage& usage_;
  const std::vector<std::string> names_;
  std::vector<char*> positional_;
};

}  // namespace

std::optional<int> ParseFlags(const Usage& usage, int* argc, char*** argv) {
  MutableOverrides().clear();
  FlagParser parser(usage);
  if (const auto code = parser.Parse(*argc, *argv)) return code;
  std::copy(parser.positional().begin(), parser.positional().end(), *argv + 1);
  *argc = 1 + static_cast<int>(parser.positional().size());
  FLAGS_minloglevel = FLAGS_verbose ? google::INFO : google::WARNING;
  return std::nullopt;
}

std::span<const std::string> Overrides() { return MutableOverrides(); }

std::string InputOverride(std::string_view files) {
  std::string list;
  while (!files.empty()) {
    const std::size_t comma = files.find(',');
    const std::string_view name = files.substr(0, comma);
    if (!name.empty()) {
      StrAppend(list, list.empty() ? "" : ", ", '"');
      for (const char c : name) {
        if (c == '"' || c == '\\') list.push_back('\\');
        list.push_back(c);
      }
      list.push_back('"');
    }
    files = comma == std::string_view::npos ? std::string_view() : files.substr(comma + 1);
  }
  return StrCat("data.test=[", list, "]");
}

int UsageError(const Usage& usage, std::string_view message) {
  std::cerr << usage.command << ": " << message << "\n`" << usage.command
            << " --help` shows examples and flags.\n";
  return 2;
}

int ReportError(const Status& status) {
  std::cerr << status.message() << "\n";
  return ExitCodeOf(status);
}

void InitLogging() {
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = google::WARNING;
  google::InitGoogleLogging("cairn");
}

}  // namespace cairn::launch
