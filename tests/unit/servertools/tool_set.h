/* tool_set -- tools as MCP servers have them, for tests of the tool search. */
#pragma once

#include "api/message.h"

#define TEXT_ARGUMENT(name, description)                                                           \
    "\"" name "\":{\"type\":\"string\",\"description\":\"" description "\"}"
#define SCHEMA(properties) "{\"type\":\"object\",\"properties\":{" properties "}}"

#define REPOSITORY                                                                                 \
    TEXT_ARGUMENT("owner", "Repository owner") "," TEXT_ARGUMENT("repo", "Repository name")

struct tool_row {
    const char *name, *description, *schema_json;
};

static const struct tool_row tool_set[] = {
    {"github_create_issue", "Create a new issue in a GitHub repository",
     SCHEMA(REPOSITORY "," TEXT_ARGUMENT("title", "Issue title") "," TEXT_ARGUMENT(
         "labels", "Labels to put on it"))},
    {"github_list_issues", "List and filter the issues of a GitHub repository",
     SCHEMA(REPOSITORY "," TEXT_ARGUMENT("state", "open, closed or all"))},
    {"github_create_pull_request", "Open a pull request from one branch into another",
     SCHEMA(REPOSITORY "," TEXT_ARGUMENT("head", "Branch with the changes"))},
    {"github_merge_pull_request", "Merge a pull request", SCHEMA(REPOSITORY)},
    {"github_search_code", "Search for code across GitHub repositories",
     SCHEMA(TEXT_ARGUMENT("q", "Search query in GitHub's syntax"))},
    {"github_get_file_contents", "Get the contents of a file or directory from a repository",
     SCHEMA(REPOSITORY "," TEXT_ARGUMENT("path", "Path to the file"))},
    {"slack_send_message", "Send a message to a Slack channel or user",
     SCHEMA(
         TEXT_ARGUMENT("channel", "Channel to post in") "," TEXT_ARGUMENT("text", "What to say"))},
    {"slack_list_channels", "List all channels in the workspace", SCHEMA("")},
    {"slack_search_messages", "Search the messages of the workspace",
     SCHEMA(TEXT_ARGUMENT("query", "What to look for"))},
    {"slack_add_reaction", "Add an emoji reaction to a message",
     SCHEMA(TEXT_ARGUMENT("emoji", "Name of the emoji"))},
    {"gmail_send_email", "Send an email with optional attachments",
     SCHEMA(TEXT_ARGUMENT("to", "Recipients") "," TEXT_ARGUMENT("subject", "Subject line"))},
    {"gmail_search", "Search emails in the user's mailbox",
     SCHEMA(TEXT_ARGUMENT("query", "Gmail search expression"))},
    {"gmail_create_draft", "Create a draft without sending it",
     SCHEMA(TEXT_ARGUMENT("subject", "Subject line"))},
    {"query_database", "Run a read-only SQL query against the PostgreSQL database",
     SCHEMA(TEXT_ARGUMENT("sql", "The statement to execute"))},
    {"list_tables", "List all tables of the database", SCHEMA("")},
    {"describe_table", "Show columns and types of one table",
     SCHEMA(TEXT_ARGUMENT("table_name", "Table to describe"))},
    {"get_weather", "Get the current weather for a location",
     SCHEMA(TEXT_ARGUMENT(
         "location",
         "City and country, e.g. Paris, France") ","
                                                 "\"units\":{\"type\":\"string\",\"enum\":["
                                                 "\"celsius\",\"fahrenheit\"]}")},
    {"get_forecast", "Weather forecast for the next days",
     SCHEMA(
         TEXT_ARGUMENT("location", "City and country") ","
                                                       "\"days\":{\"type\":\"integer\","
                                                       "\"description\":\"How many days ahead\"}")},
    {"get_air_quality", "Air quality index and pollutants at a place",
     SCHEMA(TEXT_ARGUMENT("latitude", "Degrees north"))},
    {"calendar_create_event", "Create an event in the user's calendar",
     SCHEMA(TEXT_ARGUMENT(
         "start", "Start time in RFC 3339") ","
                                            "\"attendees\":{\"type\":\"array\",\"items\":{\"type\":"
                                            "\"object\",\"properties\":{" TEXT_ARGUMENT(
                                                "mailbox",
                                                "Address that gets the invitation") "}}}")},
    {"calendar_list_events", "List events between two dates",
     SCHEMA(TEXT_ARGUMENT("time_min", "Lower bound"))},
    {"calendar_find_free_time", "Find free slots that suit all participants",
     SCHEMA(TEXT_ARGUMENT("duration", "Length of the meeting in minutes"))},
    {"filesystem.readFile", "Read the complete contents of a file from disk",
     SCHEMA(TEXT_ARGUMENT("path", "Absolute path"))},
    {"filesystem.writeFile", "Create or overwrite a file",
     SCHEMA(TEXT_ARGUMENT("path", "Absolute path"))},
    {"jira-create-ticket", "Create a ticket in a Jira project",
     SCHEMA(TEXT_ARGUMENT("project", "Key of the project"))},
    {"jira-transition-ticket", "Move a ticket to another status", SCHEMA("")},
    {"stripe_create_refund", "Give a customer their money back",
     SCHEMA(TEXT_ARGUMENT("charge", "Payment that is refunded"))},
    {"translateText", "Übersetzt Text in eine andere Sprache",
     SCHEMA(TEXT_ARGUMENT("zielsprache", "Code der Sprache"))},
    {"tenki", "\u5929\u6c17\u4e88\u5831\u3092\u53d6\u5f97\u3059\u308b", SCHEMA("")},
    {"currency_convert", "Convert an amount between currencies",
     SCHEMA(TEXT_ARGUMENT("amount", "Amount in the first currency"))},
};

enum { N_TOOL_SET = sizeof tool_set / sizeof tool_set[0] };

static inline struct tool tool_of_row(const struct tool_row *row)
{
    return (struct tool){
        .name = str_from(row->name),
        .description = str_from(row->description),
        .schema_json = str_from(row->schema_json),
        .type = STR("custom"),
        .defer_loading = true,
    };
}
