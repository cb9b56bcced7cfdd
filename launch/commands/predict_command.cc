// `cairn predict`: probabilities of rows, with or without labels.
#include <gflags/gflags.h>

#include <charconv>
#include <cmath>
#include <fstream>
#include <iostream>
#include <string_view>
#include <vector>

#include "launch/commands/commands.h"
#include "launch/commands/flags.h"
#include "launch/local/scorer.h"
#include "proto/config.pb.h"
#include "proto/control.pb.h"

DECLARE_string(checkpoint);
DECLARE_string(input);
DEFINE_string(output, "", "FILE: where the probabilities go; default: stdout");

namespace cairn::launch {
namespace {

constexpr std::string_view kFlags[] = {"checkpoint", "input", "output", "set"};
constexpr Usage kUsage = {
    .command = "cairn predict",
    .examples =
        "  cairn predict --checkpoint=runs/dlf_synth --input=new.csv > scores.csv\n"
        "  cairn predict --checkpoint=runs/dlf_synth --input='day_*.csv.gz' --output=scores.csv\n",
    .summary =
        "Writes one probability of a click for each row of the input, in its order, under the "
        "header \"probability\".\n"
        "The input has the columns of the training data; the label may be missing. A bad row is an "
        "error.\n",
    .arguments = "",
    .flags = kFlags,
};

void AppendProbability(float logit, std::string* out) {
  const double probability = 1.0 / (1.0 + std::exp(-static_cast<double>(logit)));
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, static_cast<float>(probability)).ptr;
  out->append(text, end);
  out->push_back('\n');
}

Status Predict(std::span<const std::string> overrides, std::ostream& out) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Scorer> scorer, Scorer::Open(FLAGS_checkpoint, overrides));
  std::cerr << "scoring with " << scorer->checkpoint() << "\n";
  std::string text;
  std::string_view header =
      "probability\n";  // once: behind what can be wrong with the input's columns
  const auto sink = [&](const worker::Batch&, std::span<const float> logits) {
    text.clear();
    for (const float logit : logits) AppendProbability(logit, &text);
    out << std::exchange(header, "") << text;
    return out.good() ? OkStatus() : absl::UnavailableError("the probabilities cannot be written");
  };
  ASSIGN_OR_RETURN(const ScoreCounts counts,
                   scorer->Score(proto::TEST, {.label_optional = true}, sink));
  out << header;  // of no rows
  out.flush();
  if (!out.good()) return absl::UnavailableError("the probabilities cannot be written");
  std::cerr << counts.rows << " rows scored\n";
  return OkStatus();
}

}  // namespace

int RunPredict(int argc, char** argv) {
  if (const std::optional<int> code = ParseFlags(kUsage, &argc, &argv)) return *code;
  if (FLAGS_checkpoint.empty()) return UsageError(kUsage, "--checkpoint=CHECKPOINT is missing");
  if (FLAGS_input.empty()) return UsageError(kUsage, "--input=FILES is missing");
  std::vector<std::string> overrides(Overrides().begin(), Overrides().end());
  overrides.push_back(InputOverride(FLAGS_input));
  overrides.emplace_back("data.bad_row=STOP");  // one line for each row
  if (FLAGS_output.empty()) {
    const Status status = Predict(overrides, std::cout);
    return status.ok() ? 0 : ReportError(status);
  }
  std::ofstream file(FLAGS_output, std::ios::trunc);
  if (!file) return ReportError(absl::UnavailableError(StrCat("cannot write ", FLAGS_output)));
  const Status status = Predict(overrides, file);
  return status.ok() ? 0 : ReportError(status);
}

}  // namespace cairn::launch
