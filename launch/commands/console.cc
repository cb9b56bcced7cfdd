#include "launch/commands/console.h"

#include <unistd.h>
#include <cmath>
#include <cstdarg>
#include <cstdio>

#include "common/base/str_cat.h"
#include "launch/coordinator/server_report.h"

namespace cairn::launch {
namespace {

__attribute__((format(printf, 1, 2))) std::string Format(const char* format, ...) {
  char buffer[512];
  va_list args;
  va_start(args, format);
  std::vsnprintf(buffer, sizeof buffer, format, args);
  va_end(args);
  return buffer;
}

std::string Count(double n) {
  if (n >= 1e9) return Format("%.2fG", n / 1e9);
  if (n >= 1e6) return Format("%.2fM", n / 1e6);
  if (n >= 1e4) return Format("%.1fk", n / 1e3);
  return Format("%.0f", n);
}

std::string QualityText(const Quality& quality) {
  return StrCat(quality.auc.has_value() ? Format("AUC %.5f  ", *quality.auc)
                                        : std::string("one label only  "),
                Format("log loss %.5f", quality.logloss),
                quality.gauc.has_value() ? Format("  gAUC %.5f", *quality.gauc) : std::string());
}

class Console : public JobObserver {
 public:
  Console() : terminal_(isatty(STDERR_FILENO) == 1) {}

  void OnCounted(std::string_view text) override { Line(std::string(text)); }

  void OnStart(std::string_view resumed_from) override {
    if (!resumed_from.empty()) Line(StrCat("going on from ", resumed_from));
  }

  void OnProgress(const JobProgress& p) override {
    std::string line = StrCat("epoch ", p.epoch + 1, "/", p.epochs, "  ", p.phase, "  ");
    if (p.total_rows > 0) {
      StrAppend(line,
                Format("%3.0f%%  ",
                       100.0 * static_cast<double>(p.rows) / static_cast<double>(p.total_rows)),
                Count(static_cast<double>(p.rows)), "/", Count(static_cast<double>(p.total_rows)),
                " rows");
    } else {
      StrAppend(line, Count(static_cast<double>(p.rows)), " rows");
    }
    StrAppend(line, "  ", Count(p.rows_per_s), " rows/s");
    if (std::isfinite(p.loss)) StrAppend(line, Format("  loss %.5f", p.loss));
    if (terminal_ && p.total_rows > p.rows && p.rows_per_s > 0) {
      const double left = static_cast<double>(p.total_rows - p.rows) / p.rows_per_s;
      StrAppend(line, Format("  %.0f s left", left));
    }
    if (terminal_) {
      std::fprintf(stderr, "\r%s\033[K", line.c_str());
      live_ = true;
    } else {
      Line(line);
    }
  }

  void OnEpoch(const EpochSummary& e) override {
    std::string line =
        StrCat("epoch ", e.epoch + 1, " done  ", Count(static_cast<double>(e.rows)), " rows  ",
               Count(e.rows_per_s), " rows/s  ", Format("loss %.5f", e.train_loss));
    if (e.quality.has_value())
      StrAppend(line, "  ", QualityText(*e.quality), e.is_best ? "  best" : "");
    if (e.learning_rate_scale < 1)
      StrAppend(line, Format("  learning rates x %g from here", e.learning_rate_scale));
    Line(line);
  }

  void OnCheckpoint(const std::string& path) override { Line(StrCat("checkpoint ", path)); }

  void OnServers(const ServerReport& report) override {
    const std::string requests = RequestsText(report);
    if (requests.empty()) return;
    Line(StrCat("rows      ", RowsText(report)));
    Line(StrCat("requests  ", requests));
    const std::string staleness = StalenessText(report);
    if (!staleness.empty()) Line(StrCat("staleness ", staleness));
  }

 private:
  void Line(const std::string& text) {
    std::fprintf(stderr, "%s%s\n", live_ ? "\r\033[K" : "", text.c_str());
    live_ = false;
  }

  const bool terminal_;
  bool live_ = false;
};

}  // namespace

std::unique_ptr<JobObserver> MakeConsole() { return std::make_unique<Console>(); }

std::string ResultLine(const JobResult& result) {
  std::string line = "RESULT";
  const std::optional<Quality>& quality = result.test.has_value() ? result.test : result.valid;
  if (quality.has_value()) {
    if (quality->auc.has_value()) StrAppend(line, Format(" auc=%.6f", *quality->auc));
    StrAppend(line, Format(" logloss=%.6f", quality->logloss));
    if (quality->gauc.has_value()) StrAppend(line, Format(" gauc=%.6f", *quality->gauc));
    if (quality->pairwise.has_value())
      StrAppend(line, Format(" pairwise=%.6f", *quality->pairwise));
  }
  StrAppend(line, Format(" rows_per_s=%.1f", result.rows_per_s));
  if (result.bayes_auc > 0) StrAppend(line, Format(" bayes_auc=%.6f", result.bayes_auc));
  StrAppend(line, " run_dir=", result.run_dir, " checkpoint=", result.checkpoint);
  return line;
}

std::string FinishedLine(const JobResult& result) {
  return StrCat("this job was finished after ", result.epochs, " epochs, nothing is trained now; ",
                "for more epochs or other settings start in another --run_dir");
}

}  // namespace cairn::launch
