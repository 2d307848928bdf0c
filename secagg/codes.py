"""Reasons that programs can read: one stable code per kind of error, refusal, dropout or failure.

Every exception of the library has a `code`, and so have the events `Dropped` and `Failed`, the
refusals in a `Run` and a `RoundReport`, and the findings of `secagg.preflight`. The wording of
messages may change; the meaning of a code does not. `docs/CODES.md` is printed from this table.
"""

from enum import StrEnum


class Code(StrEnum):
    """The reason of an error, refusal, dropout or failure, or a finding; its value is its name in
    lower case.

    Attributes:
        carriers: the exceptions, events and reports that have the code.
        meaning: what happened.
        remedy: what to do about it.
    """

    carriers: frozenset[str]
    meaning: str
    remedy: str

    def __new__(cls, value: str, carriers: str, meaning: str, remedy: str) -> "Code":
        """Makes a member; its value is the text of the code."""
        code = str.__new__(cls, value)
        code._value_ = value
        code.carriers = frozenset(carriers.split())
        code.meaning = meaning
        code.remedy = remedy
        return code

    QUORUM = (
        "quorum",
        "Aborted Failed ParameterError",
        "Fewer parties are left in a set than the round needs, or present than are to be invited.",
        "On a server, wait longer, invite more parties, or choose parameters for a higher "
        "dropout rate. On a client, suspect the server: it should have ended the round itself.",
    )
    TIMEOUT = (
        "timeout",
        "Dropped",
        "The party sent nothing before the deadline of the phase.",
        "Wait longer before the deadline, or check the connection of that party.",
    )
    GONE = (
        "gone",
        "Dropped",
        "The transport reported that the party is gone, or that its message was lost.",
        "Check the connection of that party; it can take part in the next round.",
    )
    REFUSED = (
        "refused",
        "Dropped RemoteProtocolError",
        "The party refused to go on with the round, or has nothing to give; or a server does not "
        "deal with a client. The reason has its own code.",
        "Look that code up in this table.",
    )
    DROPPED = (
        "dropped",
        "RemoteProtocolError",
        "A party sent a message after the server had dropped it; `Dropped` had the reason.",
        "Nothing in this round; the party can take part in the next one.",
    )
    EXCLUDED = (
        "excluded",
        "Aborted",
        "A set that the server announced does not contain this party.",
        "Suspect the server: it sends a set to the members of the set only.",
    )
    NEIGHBOURS = (
        "neighbours",
        "Aborted Failed",
        "On a sparse graph, too few neighbours of a party are left to hold shares of its seeds.",
        "Choose parameters for a higher dropout rate (`Params.for_cohort`). If a client refused a "
        "survivor set, suspect the server: it should have ended the round itself.",
    )
    DISCONNECTED = (
        "disconnected",
        "Aborted Failed",
        "On a sparse graph, the survivors fall apart into groups that share no masks.",
        "On a server, choose parameters for a higher dropout rate (`Params.for_cohort`). On a "
        "client, suspect the server: it should have ended the round itself.",
    )
    CONTEXT = (
        "context",
        "Dropped",
        "The party works on another round: parameters, session, context or pinned keys differ.",
        "Compare parameters, training, model, attempt, and `python -m secagg identity fingerprint` "
        "of the directory on both sides.",
    )
    ROSTER = (
        "roster",
        "Aborted Dropped",
        "Server and client hold different rosters, or the client's own entry in it was changed.",
        "On a client, suspect the server or the transport; on a server, that client.",
    )
    SHARING_SET = (
        "sharing_set",
        "Aborted Dropped",
        "The set of parties that shared keys has members that are not in the roster, or a client "
        "masked its input for another set.",
        "On a client, suspect the server or the transport; on a server, that client.",
    )
    SURVIVOR_SET = (
        "survivor_set",
        "Aborted",
        "The survivor set has parties that did not share keys.",
        "Suspect the server.",
    )
    DUPLICATE_KEY = (
        "duplicate_key",
        "Aborted Dropped IdentityError ParameterError",
        "The same public key occurs twice in a roster, or twice in a directory.",
        "Every party makes its own fresh keys; a copied key is an error or an attack.",
    )
    WEAK_KEY = (
        "weak_key",
        "Aborted Dropped IdentityError ParameterError",
        "A public key is malformed, not in its one valid form, or of low order.",
        "Compare it with the original, as it may be copied wrongly; else suspect its sender, as "
        "honest software does not make such keys.",
    )
    SIGNATURE = (
        "signature",
        "Aborted Dropped",
        "A signature does not verify.",
        "Compare the pinned keys of both sides; if they agree, suspect sender and server.",
    )
    CHECKSUM = (
        "checksum",
        "Dropped",
        "The checksum of a masked input is wrong (semi-honest mode).",
        "Suspect the transport, or that client.",
    )
    SIGNERS = (
        "signers",
        "Aborted",
        "The list of signatures has parties that are not in the survivor set.",
        "Suspect the server.",
    )
    TOO_FEW_SIGNATURES = (
        "too_few_signatures",
        "Aborted",
        "Fewer members than the threshold signed the survivor set.",
        "Suspect the server: it should have ended the round itself.",
    )
    SHARES = (
        "shares",
        "Aborted Failed",
        "Too few shares of a seed opened or are left to rebuild it.",
        "On a server, `disputes` has the pairs of parties concerned; repeat the round without "
        "them. On a client, suspect the server or the transport: ciphertexts were changed.",
    )
    COMMITMENT = (
        "commitment",
        "Failed",
        "The shares of a seed do not give what its dealer committed to: too many are wrong, "
        "or those of too many dealers are wrong or left out.",
        "The pairs of parties concerned are in `disputes`; repeat the round without some of them. "
        "A pair is no proof: either may be at fault, and of the dealer named also neither.",
    )
    FOREIGN_SHARE = (
        "foreign_share",
        "Dropped",
        "The party sent shares of a party that had given it none.",
        "Suspect that client.",
    )
    EQUIVOCATION = (
        "equivocation",
        "Refusal RemoteProtocolError",
        "A party sent two different messages for the same step, or a server two different "
        "invitations to the same round; the first one counts.",
        "Suspect that client, or two processes that run under the same index (as from a copied "
        "folder); or that server.",
    )
    IMPOSSIBLE_SUM = (
        "impossible_sum",
        "Failed RangeError",
        "The sum, or the sum of the weights, lies outside the range that honest inputs can reach; "
        "or so does, in `ModelLayout.unpack`, that of one array or metric, or in "
        "`Query.unpack` that of a table.",
        "A client sent values out of range, or a worker returned a wrong result; there is no sum.",
    )
    REPEATED_PARTICIPATION = (
        "repeated_participation",
        "Aborted",
        "This identity has taken part in this session before, or the ledger stored such a claim "
        "although it raised an error.",
        "Resume the client that it began with, or wait for the next round. If two processes use "
        "one identity, stop one of them.",
    )
    REPEATED_CONTRIBUTION = (
        "repeated_contribution",
        "Aborted",
        "This identity has contributed in this context before, or the ledger stored such a claim "
        "although it raised an error.",
        "Use a new context, and do not contribute twice in one: two sums can reveal an input.",
    )
    REPEATED_RESUMPTION = (
        "repeated_resumption",
        "StateError",
        "This stored client has already been resumed.",
        "Resume only what was stored last; without it the client drops out of the round.",
    )
    ROLLED_BACK = (
        "rolled_back",
        "Failed",
        "A survivor set was sent that this server does not know: it was resumed from an older "
        "snapshot, or the ledger stored a claim although it raised an error.",
        "Store a snapshot after every phase, and resume from the last one.",
    )
    ATTEMPTS_EXHAUSTED = (
        "attempts_exhausted",
        "AttemptsExhaustedError ParameterError",
        "The clients of a training give their input for one subject, such as a model, no more "
        "often, or the server announced an attempt beyond a client's limit.",
        "If rounds failed, choose parameters for a higher dropout rate; if they led back to the "
        "model, it has converged. With more attempts the server may learn as many sums over one "
        "model, which can reveal an update.",
    )
    MALFORMED = (
        "malformed",
        "DecodeError Dropped RemoteProtocolError",
        "The bytes are not the canonical encoding of a message that is possible here.",
        "Suspect the transport or the sender; a correct copy of the message is still accepted.",
    )
    VERSION = (
        "version",
        "DecodeError Dropped IdentityError StateError",
        "A message, a file or stored state has another version of the format.",
        "Use the same version of the library for both sides, or for writing and reading.",
    )
    UNSUPPORTED = (
        "unsupported",
        "DecodeError ParameterError RangeError",
        "This library or machine lacks the suite, generator, mode, number format or kernel.",
        "Update the library, or choose another one.",
    )
    SESSION = (
        "session",
        "DecodeError RemoteProtocolError",
        "The message belongs to another session.",
        "Deliver messages by session; late ones of an earlier round are harmless.",
    )
    UNKNOWN_SESSION = (
        "unknown_session",
        "Refusal",
        "A message came of a round of which this party has nothing stored: it never joined it, the "
        "round is over, or what was stored was removed: it was older than `max_age`, or made room.",
        "Nothing in this round; the party can take part in the next one. Its log tells of a round "
        "that made room: raise `Home(most_rounds=...)`.",
    )
    OUT_OF_ORDER = (
        "out_of_order",
        "LocalProtocolError Refusal RemoteProtocolError",
        "A message or a call came at a step that does not allow it, too early or too late.",
        "A late message is harmless. Make calls in the order of the events (`docs/STATES.md`).",
    )
    ARGUMENT = (
        "argument",
        "DecodeError LocalProtocolError ParameterError RangeError",
        "An argument has the wrong type, or a value outside its range.",
        "Correct the argument that the message names. If it is about an offer, the server offered "
        "impossible parameters.",
    )
    FORKED = (
        "forked",
        "LocalProtocolError StateError",
        "A client, server or `MemoryLedger` was used in a forked child of its process, or a child "
        "that `train` forked has left `train` by an exception or `return`.",
        "Use it in its own process; to continue in another one, use `suspend` or `snapshot`, and "
        "a `SqliteLedger`.",
    )
    REENTRANT = (
        "reentrant",
        "LocalProtocolError",
        "A client or a server was called while one of its own calls was running.",
        "Call it again after the first call has returned.",
    )
    UNKNOWN_PARTY = (
        "unknown_party",
        "LocalProtocolError",
        "No party of the cohort has this index.",
        "Use indices 0 to cohort - 1.",
    )
    UNKNOWN_JOB = (
        "unknown_job",
        "LocalProtocolError",
        "This server did not hand out the job.",
        "Pass the same object that the `Work` event contained.",
    )
    WIPED = (
        "wiped",
        "LocalProtocolError",
        "The identity was wiped and cannot sign any more.",
        "Load it again.",
    )
    NO_LEDGER = (
        "no_ledger",
        "LocalProtocolError ParameterError StateError",
        "A ledger is missing, its method `claim` did not return True or False, or it is another "
        "one than that of the home which is to store the server.",
        "Pass a `SqliteLedger`, or your own object with a method `claim`; to a server that a home "
        "stores that of the home (`Home.ledger`).",
    )
    NO_CONTEXT = (
        "no_context",
        "LocalProtocolError Refusal",
        "In malicious mode a client has not been told what its input is for.",
        "Compute the context from what the client works on, and give it in `Policy(context=...)` "
        "or to `expect` of the `Client`, or of the `Assignment` in `train`. Do not take it from "
        "the server.",
    )
    NO_IDENTITY = (
        "no_identity",
        "ParameterError",
        "Malicious mode needs this party's identity.",
        "Pass the `Identity` of this party.",
    )
    NO_DIRECTORY = (
        "no_directory",
        "ParameterError",
        "Malicious mode needs the directory of the cohort's verify keys.",
        "Pass the `Directory` that this party has pinned.",
    )
    WRONG_IDENTITY = (
        "wrong_identity",
        "ParameterError",
        "The directory pins another verify key at this party's index.",
        "Use the index at which this identity is pinned (`Directory.index_of`), and the same "
        "directory at all sites (`Directory.fingerprint`).",
    )
    WRONG_DIRECTORY = (
        "wrong_directory",
        "ParameterError StateError",
        "The directory has another size than the cohort, or other entries than before.",
        "Pass the directory of this cohort, the same at all sites (`Directory.fingerprint`) and "
        "when state was stored.",
    )
    DOWNGRADE = (
        "downgrade",
        "ParameterError",
        "The round is semi-honest, where identity, directory or ledger would protect nothing.",
        "Insist on malicious mode, or knowingly take part without them.",
    )
    UNSAFE_SUM = (
        "unsafe_sum",
        "DecodeError Finding ParameterError",
        "With this quorum and this number of colluders, a sum could contain a single honest input.",
        "Raise the threshold or `min_survivors`, or lower `colluders`.",
    )
    UNSAFE_THRESHOLD = (
        "unsafe_threshold",
        "DecodeError ParameterError",
        "Colluders could reach the threshold, or two different survivor sets could both collect "
        "enough signatures.",
        "Raise the threshold (or the degree of a sparse graph), or lower `colluders`.",
    )
    UNSAFE_GRAPH = (
        "unsafe_graph",
        "DecodeError ParameterError",
        "Colluders and dropouts may cut the sparse graph in two.",
        "Raise the degree, or let `Params.for_cohort` choose it.",
    )
    UNSAFE_MODE = (
        "unsafe_mode",
        "ParameterError",
        "Malicious mode was chosen on a sparse graph, where it protects nothing.",
        "Use the complete graph, or a server that can be trusted to follow the protocol.",
    )
    UNSAFE_FRACTIONS = (
        "unsafe_fractions",
        "Finding ParameterError",
        "No parameters are safe for these fractions of corrupt and vanishing parties.",
        "Lower one of the fractions, or use a larger cohort.",
    )
    HEADROOM = (
        "headroom",
        "DecodeError Finding ParameterError",
        "The sum could be too large for the arithmetic (62 bits; 64 bits for integers), or a "
        "masked input for a message (4 GiB).",
        "Lower the cohort, the precision, the range or the greatest weight; or the length.",
    )
    POLICY_PARAMS = (
        "policy_params",
        "ParameterError",
        "This client's policy refuses: these are not the parameters agreed on.",
        "Compare them with the parameters that the server offers.",
    )
    POLICY_CONTEXT = (
        "policy_context",
        "Aborted ParameterError Refusal",
        "This client refuses: the round has another context than it expects.",
        "Fetch the model of this round; compare training, model and attempt with the server's.",
    )
    POLICY_MODE = (
        "policy_mode",
        "ParameterError",
        "This client's policy refuses: it insists on another mode.",
        "Ask the server's operator for that mode.",
    )
    POLICY_SUITE = (
        "policy_suite",
        "ParameterError",
        "This client's policy refuses: it insists on another suite.",
        "Ask the server's operator for that suite.",
    )
    POLICY_FORMAT = (
        "policy_format",
        "Aborted ParameterError Refusal",
        "This client's policy refuses: the number format is another one, or outside its bounds; or "
        "it is not that of the client's layout.",
        "Compare the format with that of the server's parameters.",
    )
    POLICY_GRAPH = (
        "policy_graph",
        "ParameterError",
        "This client's policy refuses: the graph is sparse, and the policy does not allow it, or "
        "wants it to be good for more colluders or dropouts.",
        "Give `sparse=Fractions(corrupt, dropout)` or `params` in the policy; ask the server's "
        "operator for parameters by `Params.for_cohort` with these fractions.",
    )
    POLICY_THRESHOLD = (
        "policy_threshold",
        "ParameterError",
        "This client's policy refuses: the threshold of shares is lower than it allows.",
        "Ask the server's operator for a higher `threshold`.",
    )
    POLICY_COLLUDERS = (
        "policy_colluders",
        "ParameterError",
        "This client's policy refuses: it wants protection from more colluders.",
        "Ask the server's operator for more `colluders`.",
    )
    POLICY_PAIR = (
        "policy_pair",
        "Finding ParameterError",
        "This client's policy refuses: from a sum of two inputs each party learns the other's.",
        "Use a quorum above two, or `allow_pair=True` if that is acceptable.",
    )
    POLICY_COHORT = (
        "policy_cohort",
        "ParameterError",
        "This client's policy refuses: the cohort is larger than it allows, or a part of the pins "
        "that the server chose, and the policy does not say what such a cohort must be good for.",
        "Raise `max_cohort` if the client can afford it. For a part of the pins state `colluders`, "
        "`min_survivors` (3 or more) or `params` in the policy.",
    )
    POLICY_LENGTH = (
        "policy_length",
        "Aborted ParameterError Refusal",
        "This client's policy refuses: the vector is longer or shorter than it allows; or than the "
        "client's layout.",
        "Compare the lengths. Raise `max_length` if the client can afford it.",
    )
    POLICY_SURVIVORS = (
        "policy_survivors",
        "ParameterError",
        "This client's policy refuses: the round may end with fewer survivors than it wants.",
        "Ask the server's operator for a higher `min_survivors`.",
    )
    POLICY_PRIVACY = (
        "policy_privacy",
        "ParameterError",
        "This client's policy refuses: sums of this round tell more about it than it allows, or "
        "their privacy cannot be computed; or a client that demands privacy is resumed without a "
        "demand.",
        "Ask the server's operator for parameters by `secagg.noise.calibrate` with the epsilon, "
        "delta, rounds and clip of the demand.",
    )
    POLICY_RELEASE = (
        "policy_release",
        "Aborted Failed ParameterError",
        "This party's own function (`Policy(release=)`, `Server(release=)`) refuses to open the "
        "sum over these survivors; or a party that was made with one is resumed without it.",
        "Its reason says what such a sum would tell. Ask for a round with other members, or for "
        "other data; resume with the same function.",
    )
    BUDGET = (
        "budget",
        "Aborted ParameterError",
        "The privacy budget of this client's data cannot pay for the round, or there is none, "
        "though the client was made with one.",
        "The training is over for this client, unless whoever answers for the data allows more: "
        "raise epsilon of the budget. Never start a new budget for the same data.",
    )
    NOISE = (
        "noise",
        "RangeError",
        "The noise in a sum, or of a client, is not what its format says (`secagg.noise`, checks).",
        "Unless a known input was not the one that was given: look for clients that add too little "
        "noise, or the same as others.",
    )
    DROPOUT_MARGIN = (
        "dropout_margin",
        "Finding",
        "At the expected rate of dropouts too many rounds end without a sum.",
        "Plan for a higher dropout rate, invite a larger cohort, or wait longer for parties.",
    )
    NO_DROPOUTS = (
        "no_dropouts",
        "Finding",
        "Not one party may drop out.",
        "Plan for a dropout rate of one party or more, with a larger cohort if needed.",
    )
    LATE_DROPOUTS = (
        "late_dropouts",
        "Finding",
        "If as many parties drop out before their input as may, none may drop out after it.",
        "Lower the threshold, or the fraction of colluders that asks for it.",
    )
    BEYOND_QUORUM = (
        "beyond_quorum",
        "Finding",
        "How many dropouts a round survives, and how it ends with one more.",
        "Repeat a round that failed as a new attempt, and keep the number of attempts low.",
    )
    NO_COLLUDERS = (
        "no_colluders",
        "Finding",
        "The promise holds only if no client at all tells the server what it knows.",
        "Plan for a fraction of corrupt parties above 0, which stands for one party or more.",
    )
    SMALL_SUM = (
        "small_sum",
        "Finding",
        "The smallest sum can hold two honest inputs, each of which shows the other.",
        "Invite a larger cohort, or lower the fractions of corrupt and vanishing parties.",
    )
    TRUSTED_SERVER = (
        "trusted_server",
        "Finding",
        "The server is trusted to follow the protocol.",
        "Use malicious mode if it should not be trusted.",
    )
    MALICIOUS_THRESHOLD = (
        "malicious_threshold",
        "Finding",
        "Malicious mode needs more than two thirds of the cohort to the end, and 2t > n + c.",
        "Nothing; with more colluders more parties must stay.",
    )
    SPARSE_GRAPH = (
        "sparse_graph",
        "Finding",
        "The graph is sparse; clients take part only if their policy allows it.",
        "Give `sparse=Fractions(corrupt, dropout)` or `params` in the policy of each client.",
    )
    COMPLETE_GRAPH = (
        "complete_graph",
        "Finding",
        "No sparse graph is used, so the work of a client grows with the cohort.",
        "Nothing; lower fractions or a larger cohort allow a sparse graph.",
    )
    WIDE_FIELD = (
        "wide_field",
        "Finding",
        "Sums need more than 32 bits, so that masks and memory cost twice as much.",
        "Lower the precision, the range, the greatest weight or the cohort.",
    )
    WEIGHT_BITS = (
        "weight_bits",
        "Finding",
        "Weights cost bits of every element.",
        "Use smaller weights: count examples in hundreds, say.",
    )
    PRECISION = (
        "precision",
        "Finding",
        "How far rounding moves a mean.",
        "Raise `bits`, or lower `clip`.",
    )
    LARGE_MESSAGE = (
        "large_message",
        "Finding",
        "A message is larger than transports accept by default.",
        "Raise the limit of the transport, or lower length or bits.",
    )
    MEMORY = (
        "memory",
        "Finding",
        "A party may need more memory than there is.",
        "Lower the length or the cohort, or use a machine with more memory.",
    )
    SLOW_PHASE = (
        "slow_phase",
        "Finding",
        "A phase takes longer than the usual deadline of a minute.",
        "Raise the deadline; give `run_jobs` an executor if it is the unmasking.",
    )
    SHAPE = (
        "shape",
        "ParameterError RangeError",
        "An array has the wrong number of dimensions or elements.",
        "Correct the array that the message names.",
    )
    DTYPE = (
        "dtype",
        "ParameterError RangeError RoundReport",
        "An array has a dtype that is not possible here, or it is more than its numbers (a mask, a "
        "unit, missing values, labels), or cannot be read.",
        "Convert the array that the message names to plain numbers of a dtype that is taken.",
    )
    NOT_FINITE = (
        "not_finite",
        "ParameterError RangeError RoundReport",
        "An input or a model has a value that is NaN or infinite.",
        "Check whether the training diverged.",
    )
    OUT_OF_RANGE = (
        "out_of_range",
        "RangeError",
        "A value is outside the range of the format or of the field.",
        "Scale or clip the values, or widen the range of the format.",
    )
    WEIGHT = (
        "weight",
        "ParameterError RangeError RoundReport",
        "A weight is not an integer in 1..max_weight, or the format carries none; or, in federated "
        "averaging, a number of examples is impossible.",
        "Correct the weight, or raise `max_weight` for all parties.",
    )
    LAYOUT = (
        "layout",
        "ParameterError RangeError",
        "The arrays have other names, shapes or structure than the layout, or there are none; or a "
        "layout is of another format or for fewer parties than the rounds.",
        "Flatten arrays with the layout of the same model, made for the format and the largest "
        "cohort of the rounds.",
    )
    NO_INPUT = (
        "no_input",
        "ParameterError Refusal Run RoundReport",
        "A client had no input to give, such as one without examples, and sat the round out.",
        "Nothing, if that is so; it can give an input in the next round.",
    )
    TRAINING = (
        "training",
        "ParameterError Refusal RoundReport",
        "A client's training raised an exception or gave no usable input, and it sat the round "
        "out; or it joins no more rounds, as its training has failed too often.",
        "Mend its training; a report has the type and the text of the exception. The server of a "
        "real round is not told them: look into the log of the client. A home joins again after "
        "`Home.clear_failures()`.",
    )
    BUFFER = (
        "buffer",
        "RangeError",
        "An array cannot be read or written in place.",
        "Pass a contiguous, aligned, writable array that does not overlap an input.",
    )
    LEDGER = (
        "ledger",
        "StateError",
        "The ledger could not read or store a claim: it is busy, or its storage failed.",
        "No message was sent. Repair the storage; then repeat the call on a client, and call "
        "`deadline` on a server.",
    )
    BUSY = (
        "busy",
        "StateError",
        "Another process or thread uses the home of this party, as it does while a training runs; "
        "or another user who may read its folder `states` holds it. Or another process has written "
        "the checkpoint of a simulated training.",
        "Give the same payload again later. Use one home per party, and end processes that no "
        "longer serve; a long `wait` lets calls queue up. A training goes on from its checkpoint "
        "once the other has ended.",
    )
    FOREIGN_FILE = (
        "foreign_file",
        "IdentityError StateError",
        "A file or stored state is of another kind.",
        "Check the path.",
    )
    CORRUPT = (
        "corrupt",
        "IdentityError StateError",
        "The content of a file or of stored state is empty, cut short or altered.",
        "Restore it from a copy.",
    )
    SYNTAX = (
        "syntax",
        "IdentityError ParameterError",
        "A line of a directory file has a wrong form, or a field of a policy file is unknown or "
        "has a wrong value.",
        "Correct the line or the field that the message names.",
    )
    WRONG_KEY = (
        "wrong_key",
        "IdentityError StateError",
        "Sealed data does not open: another key or passphrase, or altered bytes.",
        "Use the key or passphrase that it was sealed under.",
    )
    PASSPHRASE = (
        "passphrase",
        "IdentityError ParameterError",
        "A passphrase is missing, not asked for, empty, cannot be read, or differs from its "
        "repetition.",
        "Give the passphrase that belongs to the file.",
    )
    PERMISSIONS = (
        "permissions",
        "IdentityError StateError",
        "Other users may read a key, or may change or replace pins or a ledger.",
        "Do what the message says: `chmod 600` on a key; `chmod go-w` on pins, a ledger or a "
        "folder of yours; or use another folder.",
    )
    EXISTS = (
        "exists",
        "IdentityError",
        "The file exists already and is not overwritten.",
        "Move it away, or allow overwriting.",
    )
    IO = (
        "io",
        "IdentityError ParameterError StateError",
        "A file or folder cannot be read or written.",
        "Check path, rights and free space.",
    )
    LIMIT = (
        "limit",
        "IdentityError ParameterError StateError",
        "Something is larger than the library accepts, or needs more memory than there is; or too "
        "many rounds are under way in a party's home.",
        "Check where it comes from; the message has the limit.",
    )
    UNKNOWN_NAME = (
        "unknown_name",
        "ParameterError",
        "The directory has no such party.",
        "Check the name or the key.",
    )
    DUPLICATE_NAME = (
        "duplicate_name",
        "IdentityError ParameterError",
        "Two parties of a directory have the same name.",
        "Give each party its own name.",
    )
    REVOKED_KEY = (
        "revoked_key",
        "IdentityError ParameterError",
        "A revoked key cannot be pinned again.",
        "Pin the party's new key.",
    )
    NOT_BUILT = (
        "not_built",
        "NativeError",
        "The compiled core cannot be loaded.",
        "Install the package again, with this Python; in a clone run `pip install -e .`.",
    )
    STALE_BUILD = (
        "stale_build",
        "NativeError",
        "The compiled core is older than its sources.",
        "Run `pip install -e .` again.",
    )
    NATIVE = (
        "native",
        "NativeError",
        "The compiled core returned a status that should be impossible.",
        "Report it: this is a bug of the library.",
    )
    RANDOMNESS = (
        "randomness",
        "ParameterError",
        "The source of randomness did not return the bytes that were asked for.",
        "Use the default, the operating system's.",
    )
    MISSING_EXTRA = (
        "missing_extra",
        "MissingExtraError",
        "A package of an optional extra is not installed.",
        "Install the extra that the message names.",
    )


# The sections of the document, by the code that each begins with.
_SECTIONS = {
    Code.QUORUM: "A round and its members",
    Code.CONTEXT: "Keys, signatures and shares; parties that were told different things",
    Code.REPEATED_CONTRIBUTION: "What may happen once",
    Code.MALFORMED: "Messages",
    Code.ARGUMENT: "Use of the library",
    Code.UNSAFE_SUM: "Parameters and policies",
    Code.DROPOUT_MARGIN: "Before the first round (`secagg.preflight`)",
    Code.SHAPE: "Inputs",
    Code.LEDGER: "Files and stored state",
    Code.NOT_BUILT: "Installation",
}

_HEAD = """\
# Reasons that programs can read

Printed from `secagg/codes.py`; a test keeps them equal.

Every exception of the library has a `reason`, a sentence for people, and a `code`, a `secagg.Code`,
for programs; so have the events `Dropped` and `Failed`, the refusals in a `Run` and a
`RoundReport`, and the findings of `secagg.preflight`. The wording of a reason may change at any
time; the meaning of a code does not. A code is also a string: `error.code == "quorum"`, and it can
be written to JSON and logs. Codes that begin with `policy_` are refusals by a client's own policy;
codes that begin with `unsafe_` are about parameters under which more than the sum could be
learned.

```python
try:
    events = client.receive(data)
except secagg.Aborted as error:
    if error.code is secagg.Code.NEIGHBOURS:
        ...  # too many parties vanished; the next round may succeed
    else:
        alert(error.code, error.reason)  # an honest server gives no reason to abort
```

A `DecodeError` of an offer and an `IdentityError` of a directory's line carry the code of the
`ParameterError` inside; a `RoundFailedError` carries the code of the event `Failed`. A
`StateError` that your own ledger raises without a code has the code `ledger`. A `Refusal`, with
which a client's driver tells the server that it does not go on, has the code of the exception that
is its reason, or one of those that name it here.
"""

_TABLE = """
## {section}

| code | comes with | what happened | what to do |
|---|---|---|---|
"""


def document() -> str:
    """Returns the text of `docs/CODES.md`."""
    parts = [_HEAD]
    for code in Code:
        if code in _SECTIONS:
            parts.append(_TABLE.format(section=_SECTIONS[code]))
        carriers = ", ".join(sorted(code.carriers))
        parts.append(f"| `{code}` | {carriers} | {code.meaning} | {code.remedy} |\n")
    return "".join(parts)
