#include "launch/coordinator/job_compat.h"

#include <string>

#include "google/protobuf/util/message_differencer.h"
#include "proto/config.pb.h"

namespace cairn::launch {
namespace {

// Sets an optional scalar to the value that it reads as.
void SetDefault(const google::protobuf::FieldDescriptor* field,
                google::protobuf::Message* message) {
  using google::protobuf::FieldDescriptor;
  const google::protobuf::Reflection& from = *message->GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return from.SetInt32(message, field, from.GetInt32(*message, field));
    case FieldDescriptor::CPPTYPE_INT64:
      return from.SetInt64(message, field, from.GetInt64(*message, field));
    case FieldDescriptor::CPPTYPE_UINT32:
      return from.SetUInt32(message, field, from.GetUInt32(*message, field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return from.SetUInt64(message, field, from.GetUInt64(*message, field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return from.SetDouble(message, field, from.GetDouble(*message, field));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return from.SetFloat(message, field, from.GetFloat(*message, field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return from.SetBool(message, field, from.GetBool(*message, field));
    case FieldDescriptor::CPPTYPE_ENUM:
      return from.SetEnum(message, field, from.GetEnum(*message, field));
    case FieldDescriptor::CPPTYPE_STRING:
      return from.SetString(message, field, from.GetString(*message, field));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return;
  }
}

// What decides the meaning of a checkpoint.
proto::JobConfig Identity(const proto::JobConfig& job) {
  proto::JobConfig identity = job;
  identity.clear_name();
  identity.clear_train();
  identity.clear_checkpoint();
  proto::DataConfig& data = *identity.mutable_data();
  data.clear_train();
  data.clear_valid();
  data.clear_test();
  data.clear_bad_row();
  data.clear_max_bad_rows();
  data.clear_bayes_auc();
  data.clear_group();
  for (proto::JoinConfig& join : *data.mutable_join()) join.clear_file();
  return identity;
}

// Sets every field that was left out to its default, except the members of a oneof: there, being
// set is what counts.
void WriteOutDefaults(google::protobuf::Message* message) {
  using google::protobuf::FieldDescriptor;
  const google::protobuf::Reflection& reflection = *message->GetReflection();
  const google::protobuf::Descriptor& type = *message->GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (field->is_repeated()) {
      const int count = is_message ? reflection.FieldSize(*message, field) : 0;
      for (int k = 0; k < count; ++k) {
        WriteOutDefaults(reflection.MutableRepeatedMessage(message, field, k));
      }
    } else if (field->containing_oneof() != nullptr && !reflection.HasField(*message, field)) {
      continue;
    } else if (is_message) {
      WriteOutDefaults(reflection.MutableMessage(message, field));
    } else {
      SetDefault(field, message);
    }
  }
}

}  // namespace

Status CheckCompatible(const proto::JobConfig& saved, const proto::JobConfig& job) {
  google::protobuf::util::MessageDifferencer differencer;
  std::string differences;
  differencer.ReportDifferencesToString(&differences);
  proto::JobConfig saved_identity = Identity(saved);
  proto::JobConfig identity = Identity(job);
  WriteOutDefaults(&saved_identity);
  WriteOutDefaults(&identity);
  if (differencer.Compare(saved_identity, identity)) return OkStatus();
  return absl::FailedPreconditionError(
      StrCat("the run directory holds a checkpoint of another job; first difference (checkpoint -> "
             "this job): ",
             differences.substr(0, differences.find('\n'))));
}

}  // namespace cairn::launch
