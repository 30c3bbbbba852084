// Package static is the embedder that is built in: it needs no model, no
// network and no setting up, and carries its 8 MB into the programs that import
// it and into no others.
//
// A vector has two parts, side by side. The first 256 numbers say what the
// words mean: each word piece has a row in a table that was trained to
// approximate, by adding rows, what a transformer (all-mpnet-base-v2) says of
// whole sentences. The other 512 say which letters they are made of: words,
// pairs of neighbouring words and runs of letters, hashed. They are half as long,
// and tell apart what the table does not know, such as names.
//
// # What it can see, and what it cannot
//
// It knows that "my card has not arrived" is near to "I am still waiting for my
// new credit card", and less surely that "a refund" is to "my money back"; a
// misspelt or inflected word is near to the word. Such sentences have cosines of
// .3 to .7, and of .1 where they have no word in common, while unrelated ones
// are about 0: far below what a threshold made for a transformer expects. It
// does not know order beyond two words,
// negation, irony, or which sense of a word is meant: "the dog bit the man" and
// "the man bit the dog" are nearly one to it (TestSeesAndDoesNot). It was
// trained on English; of other languages it sees the letters and little else.
// Long texts blur, as everything adds up: one or two sentences are best.
//
// Grouped by intent/cluster's default strategy, with no labels and no number of
// groups, its vectors reach a mean adjusted Rand index over five orders of
// arrival of .37 on BANKING77 (77 topics of one bank, all alike; the
// transformer's own vectors reach about .52) and .52 on CLINC150 (150 mixed
// topics; about .70). "toka-node bench intent" measures it.
//
// # Guarantees
//
//   - From the text to the stored vector all arithmetic is in integers, so a
//     text has the same vector on every machine (TestGoldenVectors), from the
//     same pieces and sums as in the reference of the table
//     (TestGoldenPieces). The name of the model has a number that changes with
//     the vectors.
//   - Case, accents and white space make no difference
//     (TestCaseAccentsAndSpace).
//   - Every text has a vector that a journal takes, or none if there is no word
//     and no mark in it; whatever the text, nothing panics (FuzzEmbed,
//     TestNothingToSay).
//   - An embedding allocates its vector and, for ASCII, one buffer besides
//     (TestAllocations).
//
// # What it does not do
//
// It does not learn, and does not read files. It does not embed what is not
// text. It does not answer in parallel: callers that want more than one core
// call it from more goroutines.
//
// # Where the table is from
//
// It was made for this project with all-mpnet-base-v2 (Apache-2.0), the
// vocabulary of bert-base-uncased (Apache-2.0), and sentences of an
// encyclopedia, of Taskmaster-4 (CC-BY-4.0) and Topical-Chat
// (CDLA-Sharing-1.0), and subjects of commits; see NOTICE.
package static
