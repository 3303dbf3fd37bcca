#include "api/published_tools.h"

/* Schemas are written a member a line. */

/* What tools take that edit files, behind the command. */
#define EDITOR_MEMBERS                                                                             \
    ",\"path\":{\"type\":\"string\",\"description\":\"Path of the file or folder\"}"               \
    ",\"view_range\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,"         \
    "\"maxItems\":2,\"description\":\"view: the first and the last line, from 1; -1 is the end\"}" \
    ",\"file_text\":{\"type\":\"string\",\"description\":\"create: what the file is to contain\"}" \
    ",\"old_str\":{\"type\":\"string\",\"description\":\"str_replace: the text to replace, which " \
    "must stand there once\"}"                                                                     \
    ",\"new_str\":{\"type\":\"string\",\"description\":\"str_replace: the text that takes its "    \
    "place\"}"                                                                                     \
    ",\"insert_line\":{\"type\":\"integer\",\"description\":\"insert: the line behind which to "   \
    "insert; 0 is the beginning\"}"                                                                \
    ",\"insert_text\":{\"type\":\"string\",\"description\":\"insert: the text to insert\"}"

static const char bash[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"command\":{\"type\":\"string\",\"description\":\"The command to run\"}"
    ",\"restart\":{\"type\":\"boolean\",\"description\":\"true: begin with a new shell\"}"
    "},\"required\":[]}";

static const char editor[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"command\":{\"type\":\"string\",\"enum\":[\"view\",\"create\",\"str_replace\",\"insert\"]"
    "}" EDITOR_MEMBERS "},\"required\":[\"command\",\"path\"]}";

/* Of the versions that could undo, and inserted `new_str`. */
static const char old_editor[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"command\":{\"type\":\"string\",\"enum\":[\"view\",\"create\",\"str_replace\",\"insert\","
    "\"undo_edit\"]}"
    ",\"path\":{\"type\":\"string\",\"description\":\"Path of the file or folder\"}"
    ",\"view_range\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,"
    "\"maxItems\":2,\"description\":\"view: the first and the last line, from 1; -1 is the end\"}"
    ",\"file_text\":{\"type\":\"string\",\"description\":\"create: what the file is to contain\"}"
    ",\"old_str\":{\"type\":\"string\",\"description\":\"str_replace: the text to replace\"}"
    ",\"new_str\":{\"type\":\"string\",\"description\":\"str_replace and insert: the new text\"}"
    ",\"insert_line\":{\"type\":\"integer\",\"description\":\"insert: the line behind which to "
    "insert\"}"
    "},\"required\":[\"command\",\"path\"]}";

static const char memory[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"command\":{\"type\":\"string\",\"enum\":[\"view\",\"create\",\"str_replace\",\"insert\","
    "\"delete\",\"rename\"]}" EDITOR_MEMBERS
    ",\"old_path\":{\"type\":\"string\",\"description\":\"rename: the path as it is\"}"
    ",\"new_path\":{\"type\":\"string\",\"description\":\"rename: the path as it is to be\"}"
    "},\"required\":[\"command\"]}";

static const char computer[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"action\":{\"type\":\"string\",\"enum\":[\"key\",\"hold_key\",\"type\",\"cursor_position\","
    "\"mouse_move\",\"left_mouse_down\",\"left_mouse_up\",\"left_click\",\"left_click_drag\","
    "\"right_click\",\"middle_click\",\"double_click\",\"triple_click\",\"scroll\",\"wait\","
    "\"screenshot\",\"zoom\"]}"
    ",\"coordinate\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,"
    "\"maxItems\":2,\"description\":\"x and y of the place, in pixels from the upper left\"}"
    ",\"start_coordinate\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,"
    "\"maxItems\":2,\"description\":\"left_click_drag: where it begins\"}"
    ",\"text\":{\"type\":\"string\",\"description\":\"type: the text; key and hold_key: the keys,"
    " such as ctrl+s\"}"
    ",\"scroll_direction\":{\"type\":\"string\",\"enum\":[\"up\",\"down\",\"left\",\"right\"]}"
    ",\"scroll_amount\":{\"type\":\"integer\",\"description\":\"scroll: by how many clicks of "
    "the wheel\"}"
    ",\"duration\":{\"type\":\"number\",\"description\":\"hold_key and wait: seconds\"}"
    ",\"region\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":4,"
    "\"maxItems\":4,\"description\":\"zoom: x and y of two corners\"}"
    "},\"required\":[\"action\"]}";

static const char regex_search[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"query\":{\"type\":\"string\",\"description\":\"A regular expression, such as "
    "(?i)weather|forecast\"}"
    "},\"required\":[\"query\"]}";

static const char bm25_search[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"query\":{\"type\":\"string\",\"description\":\"What the tool should do, in some words\"}"
    "},\"required\":[\"query\"]}";

static const char web_search[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"query\":{\"type\":\"string\",\"description\":\"What to search for\"}"
    "},\"required\":[\"query\"]}";

static const char web_fetch[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"url\":{\"type\":\"string\",\"description\":\"The address of the page\"}"
    "},\"required\":[\"url\"]}";

static const char code_execution[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"code\":{\"type\":\"string\",\"description\":\"The program\"}"
    "},\"required\":[\"code\"]}";

static const struct published_tool tools[] = {
    {"bash", TOOL_OF_CLIENT, "Runs a command in a shell that stays open between calls.", bash},
    {"text_editor_20241022", TOOL_OF_CLIENT, "Shows, creates and edits text files.", old_editor},
    {"text_editor_20250124", TOOL_OF_CLIENT, "Shows, creates and edits text files.", old_editor},
    {"text_editor", TOOL_OF_CLIENT, "Shows, creates and edits text files.", editor},
    {"memory", TOOL_OF_CLIENT,
     "Keeps notes in files below /memories, which stay there for later conversations.  Look there "
     "first, and write down what should be known later.",
     memory},
    {"computer", TOOL_OF_CLIENT, "Uses a screen, a mouse and a keyboard.", computer},
    {"tool_search_tool_regex", TOOL_SEARCH_REGEX,
     "Finds further tools, which can be called from then on.  The query is a regular expression, "
     "matched against names, descriptions and arguments.",
     regex_search},
    {"tool_search_tool_bm25", TOOL_SEARCH_BM25,
     "Finds further tools, which can be called from then on.  The query is some words about what "
     "is to be done.",
     bm25_search},
    {"web_search", TOOL_WEB_SEARCH, "Searches the web and answers titles, addresses and excerpts.",
     web_search},
    {"web_fetch", TOOL_WEB_FETCH,
     "Fetches a page of the web as text.  Only addresses that stand in the conversation are "
     "fetched.",
     web_fetch},
    {"code_execution", TOOL_CODE_EXECUTION, "Runs a Python program and answers its output.",
     code_execution},
};

static bool is_date(struct str s)
{
    enum { DATE_BYTES = 9 }; /* _20250305 */
    if (s.len != DATE_BYTES || s.ptr[0] != '_')
        return false;
    for (size_t i = 1; i < s.len; i++)
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
    return true;
}

const struct published_tool *published_tool_find(struct str type)
{
    for (size_t i = 0; i < sizeof tools / sizeof tools[0]; i++) {
        struct str known = str_from(tools[i].type);
        if (!str_starts_with(type, known))
            continue;
        struct str rest = {type.ptr + known.len, type.len - known.len};
        if (rest.len == 0 || is_date(rest))
            return &tools[i];
    }
    return NULL;
}
