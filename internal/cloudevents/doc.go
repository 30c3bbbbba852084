// Package cloudevents reads and writes events as CloudEvents 1.0 in the JSON
// format, one object a line: [Reader] takes lines from plain or compressed
// input, [Parse] makes a draft of a line, [ParseBatch] drafts of an array,
// [Append] writes an event as a line.
//
//	source            the stream, which is the agent's name
//	id                stored as extension outsideid; the event's own id is
//	                  derived from source and id
//	type              the kind
//	time              the event time; absent if there is none
//	datacontenttype   the content type
//	data, data_base64 the payload
//	correlationid     the correlation
//	traceparent       the trace context
//	tokaparents       parents, separated by spaces: event ids, or ids that
//	                  events had outside
//	tokaembedding     base64 of little-endian 32-bit floats
//	all others        extensions under their own names
//
// Written lines also hold sequence (the position, as 20 digits, unless the
// event came with a sequence of its own), tokaid (the event id, where id is
// the outside one), tokahash (the causal digest) and tokaintent. Those are the
// journal's word, not the producer's: Parse passes over them, with such a
// sequence where there is a tokahash, so that a line that was written and read
// again is the event it was.
//
// # Guarantees
//
//   - A payload is the bytes of data exactly as they stand in the line
//     (TestPayloadIsExact, FuzzData), and is written so that it comes back the
//     same (TestWrittenPayloadComesBack).
//   - What was read once and written can be read again, as the same draft but
//     for its parents, which come back as event ids (TestSampleRoundTrip,
//     FuzzParse).
//   - An envelope has one reading: repeated attributes are refused however they
//     are spelled, as is text that cannot be written back, such as half of a
//     surrogate pair (TestRefusals).
//   - A line is read or refused for a reason in one line of text that names the
//     attribute and, for a value, its rule (TestRefusals). Nothing panics, and
//     what Parse returns passes Validate and CheckOutside (FuzzParse).
//   - A draft shares no memory with its line (TestDraftOwnsItsMemory).
//   - A line too long is skipped in bounded memory and its successor is read
//     (TestLongLines); input that was cut off is never taken for a whole one
//     (TestCutOffGzip, FuzzReader).
//   - The same event is always written as the same bytes
//     (TestWrittenLine).
//
// # What it does not do
//
// It does not resolve parents: tokens are returned as given, and Draft.Parents
// stays empty. It does not check tokahash: a line carries an event's content
// and not the digests of its parents, so it proves nothing by itself. It does
// not carry schema version, trigger or subject key; use a bundle to move events
// as they are. Where the CloudEvents JSON format lets
// a null stand for an absent attribute, it is refused here: whether it was
// meant as a value cannot be told.
package cloudevents
