#include "common/config/config.h"

#include <google/protobuf/text_format.h>

#include <vector>

#include "common/config/effective_job.h"
#include "common/config/field_rules.h"
#include "common/config/overrides.h"
#include "common/config/problems.h"
#include "common/config/textproto_reader.h"
#include "common/io/file.h"
#include "proto/config.pb.h"

namespace cairn {

Result<proto::JobConfig> LoadJob(const std::string& path, std::span<const std::string> overrides) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return LoadJobText(text, path, overrides);
}

Result<proto::JobConfig> LoadJobText(std::string_view text, const std::string& source,
                                     std::span<const std::string> overrides) {
  proto::JobConfig job;
  OriginTree origins;
  ProblemList problems(source, {overrides.begin(), overrides.end()});
  ReadTextproto(text, /*override_index=*/-1, &job, &origins, &problems);
  ApplyOverrides(overrides, &job, &origins, &problems);
  if (problems.empty() && origins.fields.empty()) {
    problems.Add(origins.origin, "the job is empty; `cairn config defaults` shows what it may say");
    return problems.ToStatus();
  }
  CheckFieldRules(job, origins, "", &problems);
  MakeEffective(origins, &job, &problems);
  RETURN_IF_ERROR(problems.ToStatus());
  return job;
}

std::string PrintJob(const proto::JobConfig& job) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetUseUtf8StringEscaping(true);
  std::string text;
  printer.PrintToString(job, &text);
  return text;
}

}  // namespace cairn
