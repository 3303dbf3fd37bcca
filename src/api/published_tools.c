#include "api/published_tools.h"

#define OBJECT(properties, required)                                                               \
    "{\"type\":\"object\",\"properties\":{" properties "},\"required\":[" required "]}"
#define STRING(name, text)  "\"" name "\":{\"type\":\"string\",\"description\":\"" text "\"}"
#define INTEGER(name, text) "\"" name "\":{\"type\":\"integer\",\"description\":\"" text "\"}"
#define NUMBER(name, text)  "\"" name "\":{\"type\":\"number\",\"description\":\"" text "\"}"
#define BOOLEAN(name, text) "\"" name "\":{\"type\":\"boolean\",\"description\":\"" text "\"}"
#define ONE_OF(name, names) "\"" name "\":{\"type\":\"string\",\"enum\":[" names "]}"
#define PAIR(name, text)                                                                           \
    "\"" name "\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,"            \
    "\"maxItems\":2,\"description\":\"" text "\"}"

#define QUERY(text) OBJECT(STRING("query", text), "\"query\"")

#define EDITOR_PLACE                                                                                                                                              \
    STRING("path", "Path of the file or folder")                                                                                                                  \
    "," PAIR("view_range", "view: the first and the last line, from 1; -1 is the end") "," STRING("file_text", "create: what the file is to contain") "," STRING( \
        "old_str",                                                                                                                                                \
        "str_replace: the text to "                                                                                                                               \
        "replace, which must stand "                                                                                                                              \
        "there once") "," STRING("ne"                                                                                                                             \
                                 "w_"                                                                                                                             \
                                 "st"                                                                                                                             \
                                 "r",                                                                                                                             \
                                 "st"                                                                                                                             \
                                 "r_"                                                                                                                             \
                                 "re"                                                                                                                             \
                                 "pl"                                                                                                                             \
                                 "ac"                                                                                                                             \
                                 "e:"                                                                                                                             \
                                 " t"                                                                                                                             \
                                 "he"                                                                                                                             \
                                 " t"                                                                                                                             \
                                 "ex"                                                                                                                             \
                                 "t "                                                                                                                             \
                                 "th"                                                                                                                             \
                                 "at"                                                                                                                             \
                                 " t"                                                                                                                             \
                                 "ak"                                                                                                                             \
                                 "es"                                                                                                                             \
                                 " i"                                                                                                                             \
                                 "ts"                                                                                                                             \
                                 " p"                                                                                                                             \
                                 "la"                                                                                                                             \
                                 "c"                                                                                                                              \
                                 "e") "," INTEGER("insert_line",                                                                                                  \
                                                  "insert: the line behind which to insert; 0 is "                                                                \
                                                  "the beginning") "," STRING("insert_text",                                                                      \
                                                                              "insert: the text "                                                                 \
                                                                              "to insert")

#define EDITOR                                                                                     \
    OBJECT(ONE_OF("command", "\"view\",\"create\",\"str_replace\",\"insert\"") "," EDITOR_PLACE,   \
           "\"command\",\"path\"")

#define OLD_EDITOR                                                                                                                                   \
    OBJECT(                                                                                                                                          \
        ONE_OF("command", "\"view\",\"create\",\"str_replace\",\"insert\",\"undo_edit\"") "," STRING("path", "Path of the file or folder") "," PAIR( \
            "view_range",                                                                                                                            \
            "view: the first and the last line, from 1; "                                                                                            \
            "-1 is the end") "," STRING("file_text",                                                                                                 \
                                        "create: what the "                                                                                          \
                                        "file is to "                                                                                                \
                                        "contain") "," STRING("old_str",                                                                             \
                                                              "str_replace: the text to "                                                            \
                                                              "replace") "," STRING("new_str",                                                       \
                                                                                    "str_"                                                           \
                                                                                    "replace "                                                       \
                                                                                    "and "                                                           \
                                                                                    "insert: "                                                       \
                                                                                    "the new "                                                       \
                                                                                    "text") "," INTEGER("insert_line",                               \
                                                                                                        "insert: the line behind which to insert"),  \
        "\"command\",\"path\"")

#define MEMORY                                                                                     \
    OBJECT(ONE_OF("command",                                                                       \
                  "\"view\",\"create\",\"str_replace\",\"insert\",\"delete\","                     \
                  "\"rename\"") "," EDITOR_PLACE                                                   \
                                "," STRING("old_path", "rename: the path as it is") "," STRING(    \
                                    "new_path", "rename: the path as it is to be"),                \
           "\"command\"")

#define COMPUTER                                                                                                                                                                                                                                                                                                                                                                                                                                 \
    OBJECT(                                                                                                                                                                                                                                                                                                                                                                                                                                      \
        ONE_OF("action",                                                                                                                                                                                                                                                                                                                                                                                                                         \
               "\"key\",\"hold_key\",\"type\",\"cursor_position\",\"mouse_move\","                                                                                                                                                                                                                                                                                                                                                               \
               "\"left_mouse_down\",\"left_mouse_up\",\"left_click\",\"left_click_drag\","                                                                                                                                                                                                                                                                                                                                                       \
               "\"right_click\",\"middle_click\",\"double_click\",\"triple_click\","                                                                                                                                                                                                                                                                                                                                                             \
               "\"scroll\",\"wait\",\"screenshot\",\"zoom\"") "," PAIR("coordinate",                                                                                                                                                                                                                                                                                                                                                             \
                                                                       "x and y of the "                                                                                                                                                                                                                                                                                                                                                         \
                                                                       "place, in pixels "                                                                                                                                                                                                                                                                                                                                                       \
                                                                       "from the upper "                                                                                                                                                                                                                                                                                                                                                         \
                                                                       "left") "," PAIR("s"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "t"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "a"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "r"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "t"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "_"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "c"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "o"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "o"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "r"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "d"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "i"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "n"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "a"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "t"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "e",                                                                                                                                                                                                                                                                                                                                                     \
                                                                                        "l"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "e"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "f"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "t"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "_"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "c"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "l"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "i"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "c"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "k"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "_"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "d"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "r"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "a"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "g"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        ":"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        " "                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "w"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "h"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "e"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "r"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "e"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        " "                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "i"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "t"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        " "                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "b"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "e"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "g"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "i"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "n"                                                                                                                                                                                                                                                                                                                                                      \
                                                                                        "s") "," STRING("text", "type: the text; key and hold_key: the keys, such as ctrl+s") "," ONE_OF("scroll_direction", "\"up\",\"down\",\"left\",\"right\"") "," INTEGER("scroll_amount",                                                                                                                                                                  \
                                                                                                                                                                                                                                                               "scroll: by how many clicks of the wheel") "," NUMBER("duration", "hold_key and wait: seconds") ","                                                                               \
                                                                                                                                                                                                                                                                                                                                                               "\"region\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":4," \
                                                                                                                                                                                                                                                                                                                                                               "\"maxItems\":4,\"description\":\"zoom: x and y of two corners\"}",               \
        "\"action\"")

static const struct published_tool tools[] = {
    {"bash", TOOL_OF_CLIENT, "Runs a command in a shell that stays open between calls.",
     OBJECT(STRING("command", "The command to run") "," BOOLEAN("restart",
                                                                "true: begin with a new shell"),
            "")},
    {"text_editor_20241022", TOOL_OF_CLIENT, "Shows, creates and edits text files.", OLD_EDITOR},
    {"text_editor_20250124", TOOL_OF_CLIENT, "Shows, creates and edits text files.", OLD_EDITOR},
    {"text_editor", TOOL_OF_CLIENT, "Shows, creates and edits text files.", EDITOR},
    {"memory", TOOL_OF_CLIENT,
     "Keeps notes in files below /memories, which stay there for later conversations.  Look there "
     "first, and write down what should be known later.",
     MEMORY},
    {"computer", TOOL_OF_CLIENT, "Uses a screen, a mouse and a keyboard.", COMPUTER},
    {"tool_search_tool_regex", TOOL_SEARCH_REGEX,
     "Finds further tools, which can be called from then on.  The query is a regular expression, "
     "matched against names, descriptions and arguments.",
     QUERY("A regular expression, such as (?i)weather|forecast")},
    {"tool_search_tool_bm25", TOOL_SEARCH_BM25,
     "Finds further tools, which can be called from then on.  The query is some words about what "
     "is to be done.",
     QUERY("What the tool should do, in some words")},
    {"web_search", TOOL_WEB_SEARCH, "Searches the web and answers titles, addresses and excerpts.",
     QUERY("What to search for")},
    {"web_fetch", TOOL_WEB_FETCH,
     "Fetches a page of the web as text.  Only addresses that stand in the conversation are "
     "fetched.",
     OBJECT(STRING("url", "The address of the page"), "\"url\"")},
    {"code_execution", TOOL_CODE_EXECUTION, "Runs a Python program and answers its output.",
     OBJECT(STRING("code", "The program"), "\"code\"")},
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
